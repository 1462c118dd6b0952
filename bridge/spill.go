package bridge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// spill is a file that holds, in order, the events for which there is no room in
// memory while JetStream is unreachable. It does not outlive the process: after a
// restart the comparison with oned finds the same in fewer events.
//
// A nil spill is always full.
type spill struct {
	folder string
	limit  int64

	file    *os.File
	reader  *json.Decoder
	writer  *bufio.Writer
	written int64
	count   int
}

// maxSpill bounds a feed's file, in bytes.
const maxSpill = 1 << 30

var errSpillFull = errors.New("memory and the spill file are full")

func (s *spill) length() int {
	if s == nil {
		return 0
	}
	return s.count
}

// spilled is an entry in the file.
type spilled struct {
	Subject string    `json:"s"`
	Hash    string    `json:"h"`
	Object  string    `json:"o"`
	Heard   time.Time `json:"t"`
	ID      int       `json:"i"`
	Data    []byte    `json:"d"`
}

// write appends an entry.
func (s *spill) write(e entry) error {
	if s == nil {
		return errSpillFull
	}
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	text, _ := json.Marshal(spilled{e.subject, e.hash, e.object, e.heard, e.id, e.data}) // plain values
	if s.written+int64(len(text)) > s.limit {
		return errSpillFull
	}
	if _, err := s.writer.Write(text); err != nil {
		return fmt.Errorf("write to the spill file: %w", err)
	}
	s.written += int64(len(text))
	s.count++
	return nil
}

// open makes the file and removes its name at once: it is gone whenever the process ends.
func (s *spill) open() error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return fmt.Errorf("create the folder for the spill file: %w", err)
	}
	file, err := os.CreateTemp(s.folder, "bridge-*.spill")
	if err != nil {
		return fmt.Errorf("create the spill file: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return fmt.Errorf("unlink the spill file %s: %w", filepath.Base(file.Name()), err)
	}
	s.file, s.writer = file, bufio.NewWriterSize(file, 256<<10)
	s.reader = json.NewDecoder(bufio.NewReaderSize(&following{file: file}, 256<<10))
	return nil
}

// following reads a file from its beginning while it is appended to.
type following struct {
	file *os.File
	at   int64
}

func (f *following) Read(data []byte) (int, error) {
	n, err := f.file.ReadAt(data, f.at)
	f.at += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// read removes and returns the oldest entry. With the last one the file is closed.
func (s *spill) read() (entry, error) {
	if err := s.writer.Flush(); err != nil {
		return entry{}, fmt.Errorf("write to the spill file: %w", err)
	}
	var e spilled
	if err := s.reader.Decode(&e); err != nil {
		return entry{}, fmt.Errorf("read the spill file: %w", err)
	}
	if s.count--; s.count == 0 {
		s.reset()
	}
	return entry{e.Subject, e.Hash, objectID{e.Object, e.ID}, e.Data, e.Heard}, nil
}

// reset discards the file.
func (s *spill) reset() {
	if s == nil || s.file == nil {
		return
	}
	s.file.Close()
	s.file, s.reader, s.writer, s.written, s.count = nil, nil, nil, 0, 0
}
