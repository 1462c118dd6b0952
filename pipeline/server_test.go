package pipeline

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
)

func startServer(t testing.TB, config ServerConfig) *Server {
	t.Helper()
	server, err := StartServer(config)
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop(limited(t))) })
	return server
}

func refused(t testing.TB, config ServerConfig, wants ...string) {
	t.Helper()
	server, err := StartServer(config)
	if err == nil {
		must(t, server.Stop(limited(t)))
		t.Fatal("the server started")
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line: %q", err)
	}
}

func TestTheServerKeepsAllThroughARestart(t *testing.T) {
	config := ServerConfig{StoreDir: filepath.Join(t.TempDir(), "made", "anew"), SyncAlways: true}
	first := startServer(t, config)
	p, ctx := open(t, first.URL()), limited(t)
	record := Record{Applied: 3, State: flow.State{Service: flow.Service{ID: 9}}}
	revision, err := p.SaveRecord(ctx, 9, record, 0)
	must(t, err)
	_, err = p.PublishWork(ctx, Work{Service: 9, Reason: "test"}, "one")
	must(t, err)
	p.Close()
	must(t, first.Stop(ctx))
	must(t, first.Stop(ctx))

	p = open(t, startServer(t, config).URL())
	loaded, found, err := p.LoadRecord(ctx, 9)
	must(t, err)
	if found != revision || loaded.Applied != 3 {
		t.Errorf("the record came back as %+v, revision %d", loaded, found)
	}
	again, err := p.PublishWork(ctx, Work{Service: 9, Reason: "test"}, "one")
	must(t, err)
	if again != 1 {
		t.Errorf("the message id was forgotten: stored again as %d", again)
	}
	input, err := readPartition(t, p, Partition(9), 0).Next(ctx)
	must(t, err)
	if input.Work.Reason != "test" {
		t.Errorf("the work came back as %+v", input)
	}
}

func TestTwoServersDoNotShareAFolder(t *testing.T) {
	config := ServerConfig{StoreDir: t.TempDir()}
	first := startServer(t, config)
	refused(t, config, config.StoreDir, "in use by another Flowjet")
	must(t, first.Stop(limited(t)))
	startServer(t, config)
}

func TestATakenPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	taken := listener.Addr().String()
	config := ServerConfig{StoreDir: t.TempDir(), Listen: taken}
	refused(t, config, taken, "address already in use", "--nats-listen")
	config.Listen = "127.0.0.1:0"
	startServer(t, config) // The folder was unlocked again.
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	refused(t, ServerConfig{StoreDir: filepath.Join(file, "below")}, file, "cannot make the data folder")
	refused(t, ServerConfig{}, "no data folder")
	taken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(taken, "jetstream"), nil, 0o600))
	refused(t, ServerConfig{StoreDir: taken}, taken)
	if os.Geteuid() == 0 {
		t.Log("running as root: no folder is read-only")
		return
	}
	locked := t.TempDir()
	must(t, os.Chmod(locked, 0o500))
	refused(t, ServerConfig{StoreDir: locked}, locked, "cannot write")
}

func TestAnAddressThatIsNoneIsNamed(t *testing.T) {
	for _, listen := range []string{"nonsense", "127.0.0.1:http", "127.0.0.1:70000"} {
		refused(t, ServerConfig{StoreDir: t.TempDir(), Listen: listen}, listen)
	}
}

func TestInProcessConnectionsWork(t *testing.T) {
	server := startServer(t, ServerConfig{StoreDir: t.TempDir(), Logger: logTo(t.Output())})
	p := open(t, server.URL(), func(c *Config) { c.Options = append(c.Options, server.InProcess()) })
	_, err := p.PublishWork(limited(t), Work{Service: 1, Reason: strings.Repeat("x", MaxPayload-1000)}, "")
	must(t, err)
}

func TestStopEndsWithItsContext(t *testing.T) {
	server := startServer(t, ServerConfig{StoreDir: t.TempDir()})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, server.Stop(limited(t))) // It went on in the background.
}

func TestAServerIntroducesItselfByItsName(t *testing.T) {
	for name, want := range map[string][2]string{
		"front-end-1": {"front-end-1:6222", "front-end-1:4222"},
		"nats-0":      {"nats-0.nats.svc:6222", "nats-0.nats.svc:4222"},
		"front-end":   {"", ""},
	} {
		options, err := serverOptions(ServerConfig{Name: name, Listen: "0.0.0.0:4222", StoreDir: t.TempDir(), Cluster: &ClusterConfig{
			Name: "c", Listen: "0.0.0.0:6222", Routes: []string{"nats://front-end-1:6222", "nats://front-end-2:6222", "nats://nats-0.nats.svc:6222"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{options.Cluster.Advertise, options.ClientAdvertise}; got != want {
			t.Errorf("%s introduces itself as %v, want %v", name, got, want)
		}
	}
}
