package embedded

import (
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// roomNeeded is how much of the disk has to be free, in bytes, before a server that could not
	// write is restarted.
	roomNeeded   = 4 << 20
	roomInterval = time.Second
)

// guard restarts the server when it has given up writing and there is room again: a full
// disk stops its streams, and only a restart makes them go on (nats-server 2.15).
func (s *Server) guard(broken <-chan struct{}) {
	log := s.config.Logger
	for {
		select {
		case <-broken:
		case <-s.life.Done():
			return
		}
		log.Error("the NATS server cannot write to its folder; it is restarted as soon as it can", "folder", s.config.StoreDir)
		for !s.writable() {
			if idle.For(s.life, roomInterval) != nil {
				return
			}
		}
		again, err := s.restart()
		for err != nil {
			log.Error("the NATS server could not be restarted; retrying", "error", err)
			if idle.For(s.life, roomInterval) != nil {
				return
			}
			again, err = s.restart()
		}
		broken = again
		log.Warn("the NATS server can write again and was restarted")
	}
}

// writable reports whether the folder takes what a server writes.
func (s *Server) writable() bool {
	path := filepath.Join(s.config.StoreDir, "room")
	defer os.Remove(path) //nolint:errcheck // it is written again
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return false
	}
	_, err = file.Write(make([]byte, roomNeeded))
	if err == nil {
		err = file.Sync()
	}
	return file.Close() == nil && err == nil
}

// restart ends the server and starts one on the same folder and port.
func (s *Server) restart() (broken <-chan struct{}, err error) {
	before := s.current()
	options, err := serverOptions(s.config)
	if err != nil {
		return nil, err
	}
	if address, isTCP := before.Addr().(*net.TCPAddr); isTCP {
		s.port = address.Port // the first one's, should it have been of the system's choice
	}
	options.Port = s.port
	before.Shutdown()
	before.WaitForShutdown()
	running, broken, err := runServer(options, s.config.Logger)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nats = running
	return broken, nil
}
