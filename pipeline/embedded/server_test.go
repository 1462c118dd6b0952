package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limited is a context for a test's calls.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startServer(t testing.TB, config Config) *Server {
	t.Helper()
	server, err := Start(config)
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop(limited(t))) })
	return server
}

func refused(t testing.TB, config Config, wants ...string) {
	t.Helper()
	server, err := Start(config)
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

// client connects to a server, or to one in its place.
func client(t testing.TB, server *Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(server.URL(), append(options, nats.Timeout(poll.Limit), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	return js
}

// attempt repeats calls that nobody may answer before an election.
func attempt(t testing.TB, what string, do func(ctx context.Context) error) {
	t.Helper()
	poll.Until(t, what, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return do(ctx) == nil
	})
}

// replicated makes a stream on three servers.
func replicated(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	attempt(t, "a stream on three servers", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
		return err
	})
}

// connect connects to a server and makes a stream on it, if it is missing.
func connect(t testing.TB, server *Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	js := client(t, server, options...)
	_, err := js.CreateOrUpdateStream(limited(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	must(t, err)
	return js
}

func TestStreamsAndMessageIDsSurviveARestart(t *testing.T) {
	config := Config{StoreDir: filepath.Join(t.TempDir(), "made", "anew")}
	first, ctx := startServer(t, config), limited(t)
	_, err := connect(t, first).Publish(ctx, "s", []byte("kept"), jetstream.WithMsgID("one"))
	must(t, err)
	must(t, first.Stop(ctx))
	must(t, first.Stop(ctx))

	second := startServer(t, config)
	if !second.Ready() {
		t.Error("a server alone is not ready when it has started")
	}
	js := connect(t, second)
	again, err := js.Publish(ctx, "s", []byte("kept"), jetstream.WithMsgID("one"))
	must(t, err)
	if !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the message id was forgotten: stored again as %d", again.Sequence)
	}
	stream, err := js.Stream(ctx, "S")
	must(t, err)
	if message, err := stream.GetMsg(ctx, 1); err != nil || string(message.Data) != "kept" {
		t.Errorf("the message came back as %+v (%v)", message, err)
	}
}

// A block that was damaged while its index was not is found when it is read, and the server is
// restarted and goes on with what is left. nats-server warns of it, and 2.15 mostly goes on by itself.
func TestADamagedBlockBehindItsIndex(t *testing.T) {
	folder := t.TempDir()
	server := startServer(t, Config{StoreDir: folder})
	bucket := jetstream.StreamConfig{
		Name: "KV_B", Subjects: []string{"b.*"}, MaxMsgsPerSubject: 1, AllowRollup: true, AllowDirect: true, Discard: jetstream.DiscardNew,
	}
	js := connect(t, server)
	_, err := js.CreateStream(limited(t), bucket)
	must(t, err)
	publish := func(js jetstream.JetStream, key int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, fmt.Sprintf("b.%d", key), bytes.Repeat([]byte("x"), 1000))
		return err
	}
	for key := range 50 {
		must(t, publish(js, key))
	}
	must(t, server.Stop(limited(t)))
	blocks, err := filepath.Glob(filepath.Join(folder, "jetstream", "*", "streams", "KV_B", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no block: %v", err)
	}
	for _, block := range blocks {
		data, err := os.ReadFile(block)
		must(t, err)
		for i := len(data) / 3; i < len(data)/2; i += 37 { // the index is believed for the last message's sake
			data[i] ^= 0x5a
		}
		must(t, os.WriteFile(block, data, 0o600))
	}
	log := &testlog.Log{}
	damaged := startServer(t, Config{StoreDir: folder, Logger: log.Logger()})
	js = client(t, damaged, nats.RetryOnFailedConnect(true)) // it may be restarted already
	for key := range 50 {
		poll.Until(t, fmt.Sprintf("key %d to be stored", key), func() bool { return publish(js, key) == nil })
	}
	log.Await(t, "the NATS server was restarted")
	poll.Until(t, "the restarted server to take messages", func() bool { return publish(js, 0) == nil })
}

func TestTwoServersDoNotShareAFolder(t *testing.T) {
	config := Config{StoreDir: t.TempDir()}
	first := startServer(t, config)
	refused(t, config, config.StoreDir, "in use by another Flowjet")
	must(t, first.Stop(limited(t)))
	startServer(t, config)
}

// TestAFolderIsItsOwnersAlone: its parent may be one that others can enter.
func TestAFolderIsItsOwnersAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "jetstream")
	startServer(t, Config{StoreDir: folder})
	must(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be used by others: %s", path, info.Mode())
		}
		return err
	}))
}

func TestATakenPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	taken := listener.Addr().String()
	config := Config{StoreDir: t.TempDir(), Listen: taken}
	refused(t, config, taken, "address already in use", "--nats-listen")
	config.Listen = "127.0.0.1:0"
	startServer(t, config) // The folder was unlocked again.
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	refused(t, Config{StoreDir: filepath.Join(file, "below")}, file, "cannot create the data folder")
	refused(t, Config{}, "no data folder")
	taken := t.TempDir()
	must(t, os.WriteFile(filepath.Join(taken, "jetstream"), nil, 0o600))
	refused(t, Config{StoreDir: taken}, taken)
	if os.Geteuid() == 0 {
		t.Log("running as root: no folder is read-only")
		return
	}
	locked := t.TempDir()
	must(t, os.Chmod(locked, 0o500))
	refused(t, Config{StoreDir: locked}, locked, "cannot write")
}

func TestAnAddressThatIsNoneIsNamed(t *testing.T) {
	for _, listen := range []string{"nonsense", "127.0.0.1:http", "127.0.0.1:70000"} {
		refused(t, Config{StoreDir: t.TempDir(), Listen: listen}, listen)
	}
}

func TestInProcessConnectionsWork(t *testing.T) {
	server := startServer(t, Config{StoreDir: t.TempDir()})
	_, err := connect(t, server, server.InProcess()).Publish(limited(t), "s", make([]byte, MaxPayload-1000))
	must(t, err)
}

func TestStopEndsWithItsContext(t *testing.T) {
	server := startServer(t, Config{StoreDir: t.TempDir()})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, server.Stop(limited(t))) // It went on in the background.
}

func TestAServerAdvertisesItsName(t *testing.T) {
	for name, want := range map[string][2]string{
		"front-end-1": {"front-end-1:6222", "front-end-1:4222"},
		"nats-0":      {"nats-0.nats.svc:6222", "nats-0.nats.svc:4222"},
		"front-end":   {"", ""},
	} {
		options, err := serverOptions(Config{Name: name, Listen: "0.0.0.0:4222", StoreDir: t.TempDir(), Cluster: &Cluster{
			Listen: "0.0.0.0:6222", Routes: []string{"nats://front-end-1:6222", "nats://front-end-2:6222", "nats://nats-0.nats.svc:6222"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{options.Cluster.Advertise, options.ClientAdvertise}; got != want {
			t.Errorf("%s advertises %v, want %v", name, got, want)
		}
	}
}

// The cluster has the name that the file has for it, so that one that was named otherwise goes on; without one it is flowjet.
func TestTheNameOfACluster(t *testing.T) {
	for text, want := range map[string]string{
		"": "flowjet", "cluster { authorization { user: server, password: x } }": "flowjet", "cluster { name: site }": "site",
	} {
		file := filepath.Join(t.TempDir(), "server.conf")
		must(t, os.WriteFile(file, []byte(text+"\n"), 0o600))
		options, err := serverOptions(Config{StoreDir: t.TempDir(), File: file, Cluster: &Cluster{Listen: "127.0.0.1:6222", Routes: []string{"nats://b:6222"}}})
		must(t, err)
		if options.Cluster.Name != want {
			t.Errorf("with %q the cluster is %q, want %q", text, options.Cluster.Name, want)
		}
	}
}

func TestReloadReadsTheFileAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.conf")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(`authorization { user: anna, password: old }`)
	server := startServer(t, Config{StoreDir: t.TempDir(), File: file})
	connect(t, server, nats.UserInfo("anna", "old"))

	write(`authorization { user: anna, password: new }`)
	must(t, server.Reload())
	connect(t, server, nats.UserInfo("anna", "new"))
	if conn, err := nats.Connect(server.URL(), nats.UserInfo("anna", "old")); err == nil {
		conn.Close()
		t.Error("the old password is still accepted")
	}

	write(`authorization {`)
	if err := server.Reload(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a broken file was reloaded: %v", err)
	}
	connect(t, server, nats.UserInfo("anna", "new"))
	must(t, startServer(t, Config{StoreDir: t.TempDir()}).Reload()) // without a file it does nothing
}

func TestServersThatAreRoutedFormACluster(t *testing.T) {
	listen := ports.Free(t, 3)
	var routes []string
	for _, address := range listen {
		routes = append(routes, "nats://"+address)
	}
	var servers []*Server
	for i, address := range listen {
		servers = append(servers, startServer(t, Config{
			StoreDir: t.TempDir(), Name: fmt.Sprintf("n%d", i), Cluster: &Cluster{Listen: address, Routes: routes},
		}))
	}
	replicated(t, client(t, servers[0]))
	for _, server := range servers {
		poll.Until(t, "each server to have caught up", server.Ready)
	}
	for _, server := range servers[1:] {
		must(t, server.Stop(limited(t)))
	}
	poll.Until(t, "the last of three to be of no use", func() bool { return !servers[0].Ready() })
	refused(t, Config{StoreDir: t.TempDir(), Cluster: &Cluster{Listen: "127.0.0.1:0", Routes: []string{"no url\x7f"}}}, "nats://host:port")
}

// Servers that have the password of the same file pass messages on to each other. One without
// it is let in by none: whatever account it says, nothing of it comes through, and it hears nothing.
func TestDefaultNATSServersLetNoStrangerIn(t *testing.T) {
	folder := t.TempDir()
	file := func(name, password string) string {
		path := filepath.Join(folder, name)
		text := "cluster { authorization { user: server, password: \"" + password + "\" } }\n"
		if password == "" {
			text = "\n"
		}
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	listen := ports.Free(t, 3)
	routes := []string{"nats://" + listen[0], "nats://" + listen[1]}
	start := func(i int, name, file string) *Server {
		return startServer(t, Config{StoreDir: t.TempDir(), Name: name, File: file, Cluster: &Cluster{Listen: listen[i], Routes: routes}})
	}
	first, second := start(0, "first", file("one.conf", "right")), start(1, "second", file("two.conf", "right"))
	heard := make(chan string, 100)
	conn, err := nats.Connect(second.URL())
	must(t, err)
	t.Cleanup(conn.Close)
	_, err = conn.Subscribe("flow.work.*", func(message *nats.Msg) { heard <- string(message.Data) })
	must(t, err)
	must(t, conn.Flush())
	say := func(from *Server, what string) {
		other, err := nats.Connect(from.URL())
		must(t, err)
		defer other.Close()
		must(t, other.Publish("flow.work.1", []byte(what)))
		must(t, other.Flush())
	}
	poll.Until(t, "a message to come from the other server", func() bool {
		say(first, "ours")
		return len(heard) > 0
	})
	for name, password := range map[string]string{"nobody": "", "somebody": "wrong"} {
		intruder := start(2, name, file("three.conf", password))
		say(intruder, "forged")
		must(t, intruder.Stop(limited(t)))
	}
	raw, err := net.Dial("tcp", listen[1])
	must(t, err)
	defer raw.Close()
	_, err = io.WriteString(raw, "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"x\",\"cluster\":\"c\"}\r\nRMSG $G flow.work.1 6\r\nforged\r\n")
	must(t, err)
	must(t, raw.SetDeadline(time.Now().Add(poll.Limit)))
	said, _ := io.ReadAll(raw) // until it is cut off
	if !strings.Contains(string(said), "Authorization Violation") {
		t.Errorf("the server answers one without the password %q", said)
	}
	say(first, "last")
	for message := ""; message != "last"; {
		if message = <-heard; message == "forged" {
			t.Error("a stranger's message has come through")
		}
	}
}
