package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/poll"
)

// When a disk was full and has room again, messages are stored as before, by clients in the
// process and outside, without anybody doing anything.
func TestAFullDiskComesBack(t *testing.T) {
	for name, options := range map[string]func(*Server) []nats.Option{
		"over TCP":       func(*Server) []nats.Option { return nil },
		"in the process": func(s *Server) []nats.Option { return []nats.Option{s.InProcess()} },
	} {
		t.Run(name, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("none", disk, "tmpfs", 0, "size=64m"); err != nil {
				t.Skipf("a small disk needs root: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
			server := startServer(t, Config{StoreDir: filepath.Join(disk, "streams")})
			conn, err := nats.Connect(server.URL(), append(options(server), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
			must(t, err)
			t.Cleanup(conn.Close)
			js, err := jetstream.New(conn)
			must(t, err)
			_, err = js.CreateStream(limited(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
			must(t, err)
			publish := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second) // an answer can be lost with the server
				defer cancel()
				_, err := js.Publish(ctx, "s", make([]byte, 64<<10))
				return err
			}
			must(t, publish())
			address := server.URL()
			for round := range 2 { // it may happen again
				fill := filepath.Join(disk, "fill")
				file, err := os.Create(fill)
				must(t, err)
				for err == nil {
					_, err = file.Write(make([]byte, 1<<20))
				}
				must(t, file.Close())
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				poll.Until(t, "a message to be refused", func() bool { err := publish(); return err != nil })
				if err := publish(); err == nil || !strings.Contains(err.Error(), "no space left") && !strings.Contains(err.Error(), "nats:") && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("while the disk is full: %v", err)
				}
				must(t, os.Remove(fill))
				poll.Until(t, "messages to be stored again", func() bool { return publish() == nil })
				if server.URL() != address {
					t.Errorf("round %d: the server listens on %s, and not on %s any more", round, server.URL(), address)
				}
			}
			stream, err := js.Stream(limited(t), "S")
			must(t, err)
			if state := stream.CachedInfo().State; state.Msgs < 3 || state.NumDeleted > 0 {
				t.Errorf("the stream has %+v", state)
			}
		})
	}
}
