package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// roomNeeded is how many bytes of the disk have to be free before a server that could not
	// write is restarted.
	roomNeeded   = 4 << 20
	roomInterval = time.Second
	// rebuildInterval is the least time between two restarts that rebuild streams: a stream that
	// is damaged again and again must not stop all others again and again.
	rebuildInterval = time.Minute
)

// guard restarts the server when it has stopped writing and there is room again: a full disk stops its streams, and only a restart resumes
// them (nats-server 2.15). So does a damaged block; a server alone then rebuilds its streams. In a cluster the other servers have the
// missing messages. A server that is cut off leaves, and comes back.
func (s *Server) guard(broken <-chan failure) {
	log := s.config.Logger
	var rebuilt time.Time
	look := time.NewTicker(linkInterval)
	defer look.Stop()
	for {
		why, missed := cutOff, []string(nil)
		select {
		case why = <-broken:
		case <-look.C:
			if missed = s.cut.from(s.current()); missed == nil {
				continue
			}
		case <-s.life.Done():
			return
		}
		switch why {
		case cutOff:
			log.Warn("other NATS servers reach servers that this one does not reach; it stops until it can, since two that do not reach each other take leadership from each other",
				"servers", missed)
			if s.leave(missed) != nil {
				return
			}
		case damagedBlock:
			if s.config.Cluster != nil {
				continue
			}
			log.Error("a block of a stream is damaged; the NATS server is restarted to recover the rest", "folder", s.config.StoreDir)
			if idle.For(s.life, rebuildInterval-time.Since(rebuilt)) != nil {
				return
			}
			rebuilt = time.Now()
		case cannotWrite:
			log.Error("the NATS server cannot write to its folder; it is restarted when it can", "folder", s.config.StoreDir)
		}
		for !s.writable() {
			if idle.For(s.life, roomInterval) != nil {
				return
			}
		}
		again, err := s.restart(why == damagedBlock)
		for ; err != nil; again, err = s.restart(why == damagedBlock) {
			log.Error("the NATS server could not be restarted; retrying", "error", err)
			if idle.For(s.life, roomInterval) != nil {
				return
			}
		}
		broken = again
		look.Reset(linkInterval) // the new server has to connect to the others first
		log.Warn("the NATS server was restarted")
	}
}

// writable reports whether a server can write to the folder.
func (s *Server) writable() bool {
	path := filepath.Join(s.config.StoreDir, "room")
	defer os.Remove(path) //nolint:errcheck // it is written again
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return false
	}
	_, err = file.Write(make([]byte, roomNeeded))
	return errors.Join(err, file.Sync(), file.Close()) == nil
}

// restart stops the server and starts one on the same folder and port, which rebuilds the streams from their messages, if asked to, instead of from their indexes.
func (s *Server) restart(rebuild bool) (broken <-chan failure, err error) {
	before := s.current()
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	options.Port = s.port
	before.Shutdown()
	before.WaitForShutdown()
	if rebuild {
		indexes, err := filepath.Glob(filepath.Join(s.config.StoreDir, "jetstream", "*", "streams", "*", "msgs", "index.db"))
		for _, index := range indexes {
			err = errors.Join(err, os.Remove(index))
		}
		if err != nil {
			return nil, fmt.Errorf("remove the indexes of streams: %w", err)
		}
	}
	running, broken, err := runServer(options, s.config.Logger)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nats = running
	return broken, nil
}

// logger writes the server's lines to slog: its notices at level debug, its warnings and errors at their own.
type logger struct {
	log   *slog.Logger
	fatal chan string
	// broken has a value once only a restart resumes the server's streams.
	broken chan failure
}

// failure is the reason why a server has to be restarted.
type failure int

const (
	cannotWrite  failure = iota // the disk was full, or not writable
	damagedBlock                // the index of a stream promises messages that its block does not have
	cutOff                      // others reach a server that this one does not reach
)

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("part", "nats-server"), fatal: make(chan string, 1), broken: make(chan failure, 1)}
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf also detects that a block of a stream is damaged: until the server is restarted and
// has read the rest of it, the stream may accept no more messages (nats-server 2.15).
func (l *logger) Warnf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Warn(line)
	if strings.Contains(line, "indexCacheBuf corrupt") {
		l.fails(damagedBlock)
	}
}

// Errorf also detects two conditions that the server reports nowhere else: a stream accepts no more messages because a write failed, or
// JetStream was disabled because the disk is full (nats-server 2.15). Both last until the server is restarted.
func (l *logger) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(line)
	if strings.Contains(line, "Critical write error") || strings.Contains(line, "will be DISABLED") {
		l.fails(cannotWrite)
	}
}

func (l *logger) fails(why failure) {
	select {
	case l.broken <- why:
	default:
	}
}

// Fatalf does not end the process: Start returns the line as its error.
func (l *logger) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	select {
	case l.fatal <- line:
	default:
		l.log.Error(line)
	}
}
