package pipeline

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

func TestSeveralProcessesProvisionAtOnce(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	opened := make([]*Pipeline, 6)
	var group errgroup.Group
	for i := range opened {
		group.Go(func() (err error) {
			opened[i], err = Open(ctx, Config{URL: url})
			return err
		})
	}
	must(t, group.Wait())
	for _, p := range opened {
		p.Close()
	}
	p := open(t, url)
	for _, wanted := range streams(1) {
		info, err := p.Stream(wanted.Name).Info(ctx)
		must(t, err)
		if info.Config.MaxAge != wanted.MaxAge || info.Config.MaxBytes != wanted.MaxBytes || info.Config.Duplicates != wanted.Duplicates {
			t.Errorf("stream %s is %+v", wanted.Name, info.Config)
		}
	}
}

func TestSeveralProcessesProvisionAClusterAtOnce(t *testing.T) {
	url, ctx := natstest.Cluster(t, 3).URL(), limited(t)
	var group errgroup.Group
	for range 3 {
		group.Go(func() error {
			p, err := Open(ctx, Config{URL: url, Replicas: 3})
			if err == nil {
				p.Close()
			}
			return err
		})
	}
	must(t, group.Wait())
	p := open(t, url) // Asks for one replica: nothing shrinks.
	for _, name := range allStreams {
		info, err := p.Stream(name).Info(ctx)
		must(t, err)
		if info.Config.Replicas != 3 {
			t.Errorf("%s has %d replicas", name, info.Config.Replicas)
		}
	}
}

func TestProvisioningExtendsAndNeverShrinks(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	p := open(t, url)
	config := p.Stream(StreamFlow).Config()
	config.MaxAge, config.MaxBytes, config.Description = 365*day, -1, "kept longer here"
	config.Subjects = append(config.Subjects, "somebody.elses")
	config.AllowAtomicPublish, config.AllowDirect = false, false
	_, err := p.JetStream().UpdateStream(ctx, config)
	must(t, err)

	got := open(t, url).Stream(StreamFlow).Config()
	if got.MaxAge != 365*day || got.MaxBytes != -1 || len(got.Subjects) != 2 || got.Description != "kept longer here" {
		t.Errorf("the operator's changes are gone: %+v", got)
	}
	if !got.AllowAtomicPublish || !got.AllowDirect {
		t.Errorf("what was missing is missing still: %+v", got)
	}
}

func smallServer(t testing.TB, bytes int64) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: t.TempDir(), MaxStore: bytes})
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop(limited(t))) })
	return server
}

func TestALittleDiskHoldsLess(t *testing.T) {
	small := smallServer(t, 700<<20)
	kept := open(t, small.URL()).Stream(StreamONE).Config().MaxBytes
	if kept >= 700<<20 || kept < leastBytes {
		t.Errorf("ONE keeps %d bytes", kept)
	}
	for _, size := range []int64{300 << 20, 1 << 30, 2 << 30, 3 << 30} {
		open(t, smallServer(t, size).URL())
	}
	if again := open(t, small.URL()).Stream(StreamONE).Config().MaxBytes; again != kept {
		t.Errorf("ONE keeps %d bytes, and %d from the next start on", kept, again)
	}
}

// TestWhatIsKeptIsNeverRaised: a server without the room would lose its copy.
func TestWhatIsKeptIsNeverRaised(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	config := open(t, url).Stream(StreamFlow).Config()
	config.MaxBytes = leastBytes
	_, err := open(t, url).JetStream().UpdateStream(ctx, config)
	must(t, err)
	if got := open(t, url).Stream(StreamFlow).Config().MaxBytes; got != leastBytes {
		t.Errorf("FLOW keeps %d bytes", got)
	}
}

// A stream whose configuration cannot be read is made again once, and not at each start of the server.
func TestADamagedConfigurationIsWrittenAgain(t *testing.T) {
	node := natstest.NewNode(t)
	open(t, node.URL()).Close()
	restarted := func(change func(path string)) (made map[string]time.Time) {
		node.Stop()
		for _, name := range allStreams {
			paths, err := filepath.Glob(filepath.Join(node.StoreDir(), "jetstream", "*", "streams", name))
			if must(t, err); len(paths) != 1 {
				t.Fatalf("stream %s has the folders %v", name, paths)
			}
			change(paths[0])
		}
		node.Start()
		p := open(t, node.URL())
		defer p.Close()
		extents, lost, err := p.Extents(limited(t))
		if must(t, err); len(lost) > 0 {
			t.Fatalf("%v are lost", lost)
		}
		made = map[string]time.Time{}
		for name, extent := range extents {
			made[name] = extent.Made
		}
		return made
	}
	for file, text := range map[string]string{"meta.sum": "0000000000000000", "meta.inf": "{"} {
		again := restarted(func(path string) { must(t, os.WriteFile(filepath.Join(path, file), []byte(text), 0o600)) })
		if later := restarted(func(string) {}); !maps.EqualFunc(again, later, time.Time.Equal) {
			t.Errorf("after damage of %s the streams were made at %v, and again at %v", file, again, later)
		}
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	node := natstest.NewNode(t)
	url := strings.Replace(node.URL(), "nats://", "nats://user:geheim@", 1)
	node.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, Config{URL: url})
	if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(node.URL(), "nats://")) {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %q", err)
	}
}

func TestOpenWaitsForAServerThatComesLate(t *testing.T) {
	node := natstest.NewNode(t)
	node.Stop()
	ctx := limited(t)
	opened := make(chan error, 1)
	go func() {
		p, err := Open(ctx, Config{URL: node.URL(), Logger: logTo(t.Output())})
		if err == nil {
			p.Close()
		}
		opened <- err
	}()
	node.Start()
	must(t, <-opened)
}

// What decides who may write is read from the leader: a direct read may be
// answered by a replica that lags behind.
func TestWhatDecidesIsNotReadFromReplicas(t *testing.T) {
	p := single(t)
	for _, name := range []string{StreamONE, StreamOf(BucketState), StreamOf(BucketCheckpoint), StreamOf(BucketOwners), StreamOf(BucketCommands)} {
		if p.Stream(name).Config().AllowDirect {
			t.Errorf("%s allows direct reads", name)
		}
	}
}

func TestProvisioningAgainChangesNothing(t *testing.T) {
	url := natstest.Server(t)
	open(t, url)
	var log testlog.Log
	open(t, url, func(c *Config) { c.Logger = log.Logger() })
	if log.Count("extended") > 0 {
		t.Error("a second provisioning changed something")
	}
}

func TestARefusedPasswordIsNamedAndNotShown(t *testing.T) {
	node := natstest.NewNode(t, func(o *server.Options) { o.Username, o.Password = "flowjet", "richtig" })
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	refused := writer(func(line []byte) {
		if strings.Contains(string(line), "cannot connect to NATS") {
			cancel()
		}
	})
	_, err := Open(ctx, Config{URL: strings.Replace(node.URL(), "nats://", "nats://flowjet:falsch@", 1), Logger: logTo(refused)})
	if err == nil || !strings.Contains(err.Error(), "Authorization Violation") || strings.Contains(err.Error(), "falsch") {
		t.Fatalf("got %v", err)
	}
	open(t, strings.Replace(node.URL(), "nats://", "nats://flowjet:richtig@", 1))
}

func TestStateFollowsTheConnection(t *testing.T) {
	node := natstest.NewNode(t)
	var log testlog.Log
	p := open(t, node.URL(), func(c *Config) { c.Logger = log.Logger() })
	if state := p.State(); !state.Connected || state.Server == "" {
		t.Fatalf("%+v", state)
	}
	node.Stop()
	poll.Until(t, "the loss of the connection", func() bool { return !p.State().Connected && p.State().Error != "" })
	node.Start()
	poll.Until(t, "the connection", func() bool { return p.State().Connected && p.State().Error == "" })
	for text, want := range map[string]int{"lost the connection": 1, "cannot connect": 1, "msg=\"connected to NATS": 2} {
		if count := log.Count(text); count != want {
			t.Errorf("%q is logged %d times", text, count)
		}
	}
}
