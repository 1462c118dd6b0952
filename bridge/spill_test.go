package bridge

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// What is spilled comes back in its order while more is spilled, up to the bound; a file that lost
// its end is given up, and the next one begins anew.
func TestASpillFile(t *testing.T) {
	heard := time.Date(2026, 5, 4, 12, 0, 0, 7, time.UTC)
	numbered := func(n int) entry {
		return entry{subject: "one.0.vm", hash: fmt.Sprint(n), objectID: objectID{objectVM, n}, data: []byte{byte(n), '\n', '}', '{'}, heard: heard}
	}
	s := &spill{folder: t.TempDir() + "/made", limit: 1 << 20}
	defer s.reset()
	written, read := 0, 0
	for range 50 {
		for range 3 {
			must(t, s.write(numbered(written)))
			written++
		}
		for range 2 {
			got, err := s.read()
			must(t, err)
			if want := numbered(read); got.subject != want.subject || got.hash != want.hash || got.objectID != want.objectID || string(got.data) != string(want.data) || !got.heard.Equal(heard) {
				t.Fatalf("number %d is %+v", read, got)
			}
			read++
		}
	}
	if s.length() != written-read {
		t.Errorf("%d are left, want %d", s.length(), written-read)
	}
	s.reset()
	must(t, s.write(numbered(1)))
	must(t, s.write(numbered(2)))
	must(t, s.writer.Flush())
	must(t, s.file.Truncate(s.written-1))
	if got, err := s.read(); err != nil || got.id != 1 {
		t.Errorf("in front of the missing end: %+v, %v", got, err)
	}
	if got, err := s.read(); err == nil {
		t.Errorf("a file without its end has %+v", got)
	}
	s.reset()
	must(t, s.write(numbered(1)))
	if got, err := s.read(); err != nil || got.id != 1 || s.file != nil {
		t.Errorf("after the reset: %+v, %v", got, err)
	}
	s.limit = 100
	var err error
	for n := 0; err == nil; n++ {
		err = s.write(numbered(n))
	}
	if !errors.Is(err, errSpillFull) || s.length() > 1 || !errors.Is((*spill)(nil).write(numbered(1)), errSpillFull) {
		t.Errorf("beyond its bound: %v with %d entries", err, s.length())
	}
}
