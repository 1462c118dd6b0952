package embedded

import (
	"errors"
	"fmt"
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

// rebuildInterval is how far apart the restarts are after which streams are read anew: one that
// is damaged again and again must not end all others again and again.
const rebuildInterval = time.Minute

// guard restarts the server when it has given up writing and there is room again: a full
// disk stops its streams, and only a restart makes them go on (nats-server 2.15). So does a
// damaged block; of a server alone the streams are read anew then. In a cluster the other
// servers have what is missing.
func (s *Server) guard(broken <-chan failure) {
	log := s.config.Logger
	var rebuilt time.Time
	for {
		var why failure
		select {
		case why = <-broken:
		case <-s.life.Done():
			return
		}
		rebuild := why == damagedBlock
		if rebuild && s.config.Cluster != nil {
			continue
		}
		if rebuild {
			log.Error("a block of a stream is damaged; the NATS server is restarted to recover the rest", "folder", s.config.StoreDir)
			if idle.For(s.life, rebuildInterval-time.Since(rebuilt)) != nil {
				return
			}
			rebuilt = time.Now()
		} else {
			log.Error("the NATS server cannot write to its folder; it is restarted when it can", "folder", s.config.StoreDir)
		}
		for !s.writable() {
			if idle.For(s.life, roomInterval) != nil {
				return
			}
		}
		again, err := s.restart(rebuild)
		for err != nil {
			log.Error("the NATS server could not be restarted; retrying", "error", err)
			if idle.For(s.life, roomInterval) != nil {
				return
			}
			again, err = s.restart(rebuild)
		}
		broken = again
		log.Warn("the NATS server was restarted and can write again")
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

// restart ends the server and starts one on the same folder and port, which reads the streams'
// messages anew where they are to be rebuilt, and not their indexes.
func (s *Server) restart(rebuild bool) (broken <-chan failure, err error) {
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
