package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/app/cluster"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// writer stores one message after the other in JetStream, and keeps what was
// acknowledged.
type writer struct {
	t     *testing.T
	pipe  *pipeline.Pipeline
	mutex sync.Mutex
	acked map[uint64]string // sequence -> message id
	last  time.Time
	gap   time.Duration // the longest time without an acknowledgement since reset
	stop  func()
}

func (w *writer) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("message-%d", n)
		sequence, err := work.NewQueue(w.pipe).PublishWork(ctx, pipeline.Work{Service: n % 100, Reason: id}, id)
		if err != nil {
			continue
		}
		w.mutex.Lock()
		w.acked[sequence] = id
		w.gap = max(w.gap, time.Since(w.last))
		w.last = time.Now()
		w.mutex.Unlock()
	}
}

// after brings a fault about, waits until messages are stored as before, and
// returns the longest time in which none was.
func (w *writer) after(fault func()) time.Duration {
	w.t.Helper()
	w.mutex.Lock()
	w.gap, w.last = 0, time.Now()
	before := len(w.acked)
	w.mutex.Unlock()
	fault()
	poll.Until(w.t, "messages to be stored again", func() bool {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		return len(w.acked) > before+200 && time.Since(w.last) < 100*time.Millisecond
	})
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.gap
}

// lost counts the acknowledged messages that the stream does not have.
func (w *writer) lost() (lost int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), poll.Limit)
	defer cancel()
	consumer, err := w.pipe.JetStream().OrderedConsumer(ctx, pipeline.StreamWork, jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	stored := map[uint64]string{}
	for last := len(w.acked); last > 0 && ctx.Err() == nil; { // a first batch may come empty
		batch, err := consumer.FetchNoWait(500)
		if err != nil {
			w.t.Fatal(err)
		}
		for message := range batch.Messages() {
			if at, err := message.Metadata(); err == nil {
				stored[at.Sequence.Stream], last = message.Headers().Get(jetstream.MsgIDHeader), int(at.NumPending)
			}
		}
	}
	for sequence, id := range w.acked {
		if stored[sequence] != id {
			lost++
		}
	}
	w.t.Logf("%d messages acknowledged, %d stored, %d lost", len(w.acked), len(stored), lost)
	return lost
}

// natsServers are three servers and who writes to them.
type natsServers struct {
	plan    cluster.Plan
	servers []*process
	writer  *writer
}

// startServers starts three NATS servers. The first keeps its data on a small
// disk of its own where that can be made; full fills it up.
func startServers(t *testing.T) (s *natsServers, full func(bool), canFill bool) {
	t.Helper()
	addresses := cluster.Loopback(3)
	s = &natsServers{plan: cluster.Plan{FrontEnds: addresses, Oneds: addresses, Ports: freePorts(t), DataDir: t.TempDir()}}
	full, canFill = smallDisk(t, filepath.Join(s.plan.DataDir, "front-end-1"))
	// Streams of full size, of which the small disk holds the beginning.
	settings := filepath.Join(s.plan.DataDir, "server.conf")
	if err := os.WriteFile(settings, []byte("jetstream { max_file_store: 100G }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, member := range s.plan.Members() {
		if member.Arguments[0] == "nats" {
			s.servers = append(s.servers, start(t, append(member.Arguments, "--nats-server-file", settings)...))
		}
	}
	opening, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	pipe, err := pipeline.Open(opening, pipeline.Config{URL: s.plan.NATS(), Replicas: 3, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pipe.Close)
	s.writer = &writer{t: t, pipe: pipe, acked: map[uint64]string{}, last: time.Now()}
	ctx, cancelRun := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.writer.run(ctx) }()
	s.writer.stop = func() { cancelRun(); <-done }
	t.Cleanup(s.writer.stop)
	return s, full, canFill
}

// smallDisk mounts a small file system, if this process may.
func smallDisk(t *testing.T, folder string) (full func(bool), can bool) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(folder); err != nil {
		t.Logf("no disk runs full: %v", err)
		return nil, false
	}
	t.Cleanup(func() {
		if err := unmount(folder); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(folder, "filler")
	return func(yes bool) {
		if !yes {
			_ = os.Remove(filler)
			return
		}
		file, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		chunk := make([]byte, 1<<16)
		for err == nil {
			_, err = file.Write(chunk)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}, true
}

// leader is the server that leads the stream of the work.
func (s *natsServers) leader(t *testing.T) *process {
	t.Helper()
	found := -1
	poll.Until(t, "the stream to have a leader", func() bool {
		stream, err := s.writer.pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		_, err = fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "front-end-%d", &found)
		return err == nil
	})
	return s.servers[found-1]
}

// inSync waits until every server has every message of every stream.
func (s *natsServers) inSync(t *testing.T) {
	t.Helper()
	behind := ""
	defer func() {
		if behind != "" {
			t.Logf("not in step: %s", behind)
		}
	}()
	poll.Until(t, "the servers to be in step", func() bool {
		behind = s.behind(t.Context())
		return behind == ""
	})
}

// behind names what is not in step yet.
func (s *natsServers) behind(ctx context.Context) string {
	seen := 0
	list := s.writer.pipe.JetStream().ListStreams(ctx)
	for info := range list.Info() {
		seen++
		if info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			return fmt.Sprintf("%s is not on three servers: %+v", info.Config.Name, info.Cluster)
		}
		for _, replica := range info.Cluster.Replicas {
			if replica.Offline || !replica.Current && replica.Lag > 1000 {
				return fmt.Sprintf("%s is behind: %+v", info.Config.Name, *replica)
			}
		}
	}
	switch {
	case list.Err() != nil:
		return list.Err().Error()
	case seen == 0:
		return "no stream is known"
	case !s.listening():
		return "a server takes no connections"
	}
	return ""
}

// listening reports whether all servers take connections.
func (s *natsServers) listening() bool {
	for _, address := range s.plan.FrontEnds {
		connection, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", address, s.plan.Ports.NATS), time.Second)
		if err != nil {
			return false
		}
		connection.Close()
	}
	return true
}

// TestJetStreamFaults breaks NATS servers while messages are stored: none that
// was acknowledged is lost, and storing goes on.
func TestJetStreamFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks NATS servers for half a minute")
	}
	s, full, canFill := startServers(t)
	steps := []struct {
		name  string
		fault func()
		mend  func()
	}{
		{"the leaders of all streams moved", func() { s.moveLeaders(t) }, nil},
		{"a planned stop of the leader", func() { s.restart(t, s.leader(t), syscall.SIGTERM) }, nil},
		{"kill -9 of the leader", func() { s.restart(t, s.leader(t), syscall.SIGKILL) }, nil},
		{"a server without its data", func() { s.lose(t, 2) }, nil},
		{"all servers at once", func() { s.restartAll(t) }, nil},
	}
	if canFill {
		steps = append(steps, struct {
			name  string
			fault func()
			mend  func()
		}{"a full disk", func() { full(true) }, func() {
			full(false)
			s.restart(t, s.servers[0], syscall.SIGKILL)
		}})
	}
	for _, step := range steps {
		gap := s.writer.after(step.fault)
		t.Logf("%s: nothing was stored for %s", step.name, gap.Round(time.Millisecond))
		if gap > 20*time.Second {
			t.Errorf("%s: that is too long", step.name)
		}
		if step.mend != nil {
			step.mend()
		}
		s.inSync(t)
	}
	s.writer.after(func() {})
	s.writer.stop()
	if lost := s.writer.lost(); lost > 0 {
		t.Errorf("%d acknowledged messages are lost", lost)
	}
}

// moveLeaders has every stream elect another leader.
func (s *natsServers) moveLeaders(t *testing.T) {
	t.Helper()
	for _, stream := range []string{pipeline.StreamWork, pipeline.StreamONE, pipeline.StreamFlow, pipeline.StreamOf(pipeline.BucketState)} {
		if _, err := s.writer.pipe.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 5*time.Second); err != nil {
			t.Errorf("have stream %s elect another leader: %v", stream, err)
		}
	}
}

func (s *natsServers) restart(t *testing.T, server *process, with syscall.Signal) {
	t.Helper()
	if err := server.command.Process.Signal(with); err != nil {
		t.Fatal(err)
	}
	server.wait()
	server.again()
}

// lose takes a server's data away.
func (s *natsServers) lose(t *testing.T, n int) {
	t.Helper()
	s.servers[n].kill()
	if err := os.RemoveAll(filepath.Join(s.plan.DataDir, fmt.Sprintf("front-end-%d", n+1))); err != nil {
		t.Fatal(err)
	}
	s.servers[n].again()
}

func (s *natsServers) restartAll(t *testing.T) {
	t.Helper()
	for _, server := range s.servers {
		if err := server.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range s.servers {
		server.wait()
		server.again()
	}
}
