package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// startNATS starts an embedded server as a process without any configuration has it.
func startNATS(t *testing.T, data string, more ...string) (*App, Config) {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := port.Addr().String()
	must(t, port.Close())
	flags := append([]string{"--data-dir", data, "--nats-listen", address}, more...)
	config, err := ReadConfig("", flagsOf(t, flags...))
	must(t, err)
	started := New(config, []Part{PartNATS}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, started.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, started) })
	return started, config
}

func stopApp(t *testing.T, started *App) {
	t.Helper()
	stopping, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	must(t, started.Stop(stopping))
}

// The embedded server lets in nobody without a key of the data folder, and commands that
// know the folder find theirs.
func TestTheDefaultNATSIsClosed(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server, config := startNATS(t, data)
	for name, options := range map[string][]nats.Option{
		"nobody":            nil,
		"a user":            {nats.UserInfo("oneadmin", "opennebula")},
		"a token":           {nats.Token("secret")},
		"an unknown key":    {strangeKey(t)},
		"the system's name": {nats.UserInfo("$SYS", "")},
	} {
		conn, err := nats.Connect(server.server.URL(), append(options, nats.Timeout(poll.Limit))...)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pipe, err := config.Open(t.Context(), pipeline.Config{URL: server.server.URL(), Role: pipeline.RoleAll})
	must(t, err)
	_, err = work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 1}, "")
	must(t, err)
	pipe.Close()
	looking, missing, err := config.Attach(t.Context(), pipeline.Config{Role: pipeline.RoleOperator})
	if err != nil || len(missing) > 0 {
		t.Fatalf("the operator sees no streams: %v, missing %v", err, missing)
	}
	looking.Close()
	for path, mode := range map[string]os.FileMode{"nats": 0o700, "nats/flowjet.nk": 0o600, "nats/operator.nk": 0o600, "nats/reader.nk": 0o600, "nats/bridge.nk": 0o600} {
		info, err := os.Stat(filepath.Join(data, path))
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode().Perm(), mode)
		}
	}
	elsewhere := config
	elsewhere.DataDir = t.TempDir()
	if _, _, err := elsewhere.Attach(t.Context(), pipeline.Config{Role: pipeline.RoleOperator}); err == nil {
		t.Error("without the key the streams can be seen")
	}
}

func strangeKey(t *testing.T) nats.Option {
	t.Helper()
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	key, err := nats.NkeyOptionFromSeed(filepath.Join(folder, "operator.nk"))
	must(t, err)
	return key
}

// What a server without accounts has stored is there when the server asks for keys.
func TestStreamsAreKeptWhenNATSIsClosed(t *testing.T) {
	data := t.TempDir()
	open := filepath.Join(t.TempDir(), "open.conf")
	must(t, os.WriteFile(open, []byte("max_connections: 1000\n"), 0o600))
	before, config := startNATS(t, data, "--nats-server-file", open)
	pipe, err := config.Open(t.Context(), pipeline.Config{URL: before.server.URL()})
	must(t, err)
	sequence, err := work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 7}, "")
	must(t, err)
	_, err = work.NewRecords(pipe).SaveRecord(t.Context(), 7, pipeline.Record{State: flow.State{Service: spec.Service{ID: 7}}}, 0)
	must(t, err)
	pipe.Close()
	stopApp(t, before)
	for range 2 { // and once more, when they are there
		after, config := startNATS(t, data)
		pipe, err = config.Open(t.Context(), pipeline.Config{URL: after.server.URL(), Role: pipeline.RoleAll})
		must(t, err)
		if next, err := work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 7}, ""); err != nil || next <= sequence {
			t.Errorf("after %d the next wake-up is number %d (%v)", sequence, next, err)
		} else {
			sequence = next
		}
		if _, revision, err := work.NewRecords(pipe).LoadRecord(t.Context(), 7); err != nil || revision == 0 {
			t.Errorf("the record is gone: revision %d, %v", revision, err)
		}
		pipe.Close()
		stopApp(t, after)
	}
}

// A reader gets answers into its own account only: none of what it may ask for ends on a
// subject of Flowjet's.
func TestAReaderWritesNothing(t *testing.T) {
	server, config := startNATS(t, t.TempDir())
	pipe, err := config.Open(t.Context(), pipeline.Config{URL: server.server.URL(), Role: pipeline.RoleAll})
	must(t, err)
	defer pipe.Close()
	_, err = work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 1}, "")
	must(t, err)
	key, err := config.natsOptions(pipeline.RoleReader)
	must(t, err)
	conn, err := nats.Connect(server.server.URL(), append(key, nats.CustomInboxPrefix(pipeline.RoleReader.InboxPrefix()),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	must(t, err)
	defer conn.Close()
	operator, err := config.natsOptions(pipeline.RoleOperator)
	must(t, err)
	watcher, err := nats.Connect(server.server.URL(), operator...)
	must(t, err)
	defer watcher.Close()
	js, err := jetstream.New(watcher)
	must(t, err)
	count := func() (total uint64) {
		for _, name := range []string{pipeline.StreamWork, pipeline.StreamFlow, pipeline.StreamDead, pipeline.StreamONE, pipeline.StreamOf(pipeline.BucketState)} {
			stream, err := js.Stream(t.Context(), name)
			must(t, err)
			total += stream.CachedInfo().State.LastSeq
		}
		return total
	}
	before := count()
	for _, target := range []string{"flow.work.1", "$KV.FLOW_STATE.1", "flow.dlq.worker", "one.0.vm.1.DONE.LCM_INIT", "flow.event.1.service.DONE"} {
		for subject, body := range map[string]string{
			"$JS.API.STREAM.INFO.WORK":               "",
			"$JS.API.STREAM.MSG.GET.WORK":            `{"seq":1}`,
			"$JS.API.DIRECT.GET.WORK":                `{"seq":1,"batch":10}`,
			"$JS.API.STREAM.NAMES":                   "",
			"$JS.API.CONSUMER.CREATE.WORK.x":         `{"stream_name":"WORK","config":{"name":"x","deliver_subject":"` + target + `","ack_policy":"none"}}`,
			"$JS.API.CONSUMER.DURABLE.CREATE.WORK.y": `{"stream_name":"WORK","config":{"durable_name":"y","deliver_subject":"` + target + `","ack_policy":"none"}}`,
		} {
			must(t, conn.PublishRequest(subject, target, []byte(body)))
		}
		must(t, conn.PublishMsg(&nats.Msg{Subject: target, Data: []byte("{}")}))
	}
	must(t, conn.Flush())
	// An answer to a request that comes after them all: theirs have been given before.
	if _, err := conn.Request("$JS.API.STREAM.INFO.WORK", nil, 5*time.Second); err != nil {
		t.Fatalf("the reader cannot look a stream up: %v", err)
	}
	if after := count(); after != before {
		t.Errorf("the reader has had %d messages stored", after-before)
	}
	heard, err := conn.SubscribeSync("flow.work.>")
	must(t, err)
	must(t, conn.Flush())
	_, err = work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 1}, "")
	must(t, err)
	if _, err := heard.NextMsg(5 * time.Second); err != nil {
		t.Errorf("the reader hears nothing: %v", err)
	}
	answer, err := conn.Request("$JS.API.DIRECT.GET.WORK", []byte(`{"seq":1}`), 5*time.Second)
	if err != nil || len(answer.Data) == 0 {
		t.Errorf("the reader cannot read a message: %v", err)
	}
}
