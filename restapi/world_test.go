package restapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	admin = "oneadmin:opennebula"
	alice = "alice:alice"
)

// testBox seals for a server without an oned.
var testBox = &seal.Box{Keys: func() [][]byte { return [][]byte{[]byte("test")} }}

// world is the API over a simulated OpenNebula and a real NATS server.
type world struct {
	t       testing.TB
	sim     *sim.Sim
	nats    *natstest.Node
	pipe    clients
	oned    *opennebula.Client
	api     *Server
	url     string
	log     *testlog.Log
	metrics *prometheus.Registry
	// bridge is that of a whole world, which passes those calls on.
	bridge  *atomic.Pointer[bridge.Bridge]
	bridged []string
}

func limitedTo(change func(*limits)) limits {
	changed := standardLimits
	change(&changed)
	return changed
}

// withDefaults fills in what a test leaves to the server.
func withDefaults(c Config) Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:2474")
	c.credentialTTL = cmp.Or(c.credentialTTL, credentialTTL)
	c.replyWait = cmp.Or(c.replyWait, replyWait)
	c.aliveEvery = cmp.Or(c.aliveEvery, aliveEvery)
	c.Version = cmp.Or(c.Version, "unknown")
	c.ActionNumber = cmp.Or(c.ActionNumber, 1)
	c.ActionPeriod = cmp.Or(c.ActionPeriod, time.Minute)
	c.limits = cmp.Or(c.limits, standardLimits)
	c.Metrics = cmp.Or(c.Metrics, prometheus.NewRegistry())
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Settings = cmp.Or(c.Settings, flow.DefaultSettings())
	if c.HearingCalls == nil {
		c.HearingCalls = func() string { return "" }
	}
	if c.Feeds == nil {
		c.Feeds = func() []FeedHealth { return nil }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.NotReady == nil {
		c.NotReady = func() []string { return nil }
	}
	return c
}

func newWorld(t testing.TB, config Config) *world {
	t.Helper()
	return newWorldOf(t, config, sim.Config{BootDelay: sim.NoDelay})
}

func newWorldOf(t testing.TB, config Config, simulated sim.Config) *world {
	t.Helper()
	w := &world{t: t, log: &testlog.Log{}, bridge: new(atomic.Pointer[bridge.Bridge]),
		bridged: []string{"vm", "net", "host", "image", "one.vm.update", "one.document.*", "one.acl.*", "one.user.*", "one.group.*"}, metrics: prometheus.NewRegistry(), nats: natstest.NewNode(t)}
	var err error
	w.sim, err = sim.New(simulated)
	w.must(err)
	w.must(w.sim.Start(t.Context()))
	t.Cleanup(func() { w.bounded(w.sim.Stop) })
	credentials, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	w.must(err)
	w.oned = opennebula.NewClient(opennebula.Config{Endpoint: w.sim.Endpoint(), Credentials: credentials})
	t.Cleanup(w.oned.Close)
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: w.nats.URL()})
	w.must(err)
	t.Cleanup(pipe.Close)
	w.pipe = newClients(pipe)
	config.replyWait = cmp.Or(config.replyWait, 30*time.Second) // a busy machine's worker may need more than a customer waits
	config.Logger = w.log.Logger()
	config.Metrics = w.metrics
	if config.HearingCalls == nil {
		config.HearingCalls = func() string {
			if heard := w.bridge.Load(); heard != nil {
				return heard.HearsCalls()
			}
			return ""
		}
	}
	w.api, err = newServer(withDefaults(config), w.pipe, oned{w.oned}, w.oned.Box())
	w.must(err)
	w.api.begin()
	t.Cleanup(w.api.end)
	server := httptest.NewServer(w.api.handler)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// bounded calls something that stops, and waits no longer than it may take.
func (w *world) bounded(stop func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	w.must(stop(ctx))
}

// reply is what a client gets.
type reply struct {
	status int
	header http.Header
	body   string
}

func (w *world) call(user, method, path, body string, headers ...string) reply {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	w.must(err)
	if name, secret, given := strings.Cut(user, ":"); given {
		request.SetBasicAuth(name, secret)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	w.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	w.must(err)
	w.t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return reply{response.StatusCode, response.Header, string(text)}
}

// expect calls and holds the status and a part of the body.
func (w *world) expect(user, method, path, body string, status int, part string) reply {
	w.t.Helper()
	got := w.call(user, method, path, body)
	text := got.body
	if got.header.Get("Content-Type") == problemType {
		var read problem
		w.must(json.Unmarshal([]byte(got.body), &read))
		text = read.Detail
	}
	if got.status != status || !strings.Contains(text, part) {
		w.t.Fatalf("%s %s %s: got %d %q, want %d %q", method, path, body, got.status, got.body, status, part)
	}
	return got
}

// shown is a document in an answer.
type shown struct {
	Document struct {
		ID, UID, GID, NAME, TYPE string
		Template                 struct{ Body spec.Body } `json:"TEMPLATE"`
	} `json:"DOCUMENT"`
}

func (w *world) document(r reply) (id string, body spec.Body) {
	w.t.Helper()
	var read shown
	w.must(json.Unmarshal([]byte(r.body), &read))
	return read.Document.ID, read.Document.Template.Body
}

const twoRoles = `{"name":"svc","deployment":"straight","roles":[
	{"name":"Master","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":4},
	{"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"]}]}`

// template makes a template and returns its path.
func (w *world) template(user string) string {
	w.t.Helper()
	id, _ := w.document(w.expect(user, "POST", "/service_template", twoRoles, 201, ""))
	return "/service_template/" + id
}

// service makes a service and returns its path.
func (w *world) service(user string) string {
	w.t.Helper()
	action := w.template(user) + "/action"
	id, _ := w.document(w.expect(user, "POST", action, perform("instantiate", `{}`), 201, ""))
	return "/service/" + id
}

func perform(action, params string) string {
	return fmt.Sprintf(`{"action":{"perform":%q,"params":%s}}`, action, params)
}

// worker answers every command with what answer says, and tells of each.
func (w *world) worker(answer func(flow.Command) pipeline.Reply) <-chan flow.Command {
	w.t.Helper()
	seen := make(chan flow.Command, 100)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for partition := range pipeline.Partitions {
		reader, err := w.pipe.ReadPartition(ctx, partition, 0)
		w.must(err)
		running.Go(func() {
			defer reader.Stop()
			for {
				input, err := reader.Next(ctx)
				if err != nil {
					return
				}
				w.finish(ctx, input, answer(*input.Work.Command))
				seen <- *input.Work.Command
			}
		})
	}
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return seen
}

func (w *world) finish(ctx context.Context, input pipeline.Input, answer pipeline.Reply) {
	answer.Command, answer.Time = input.Work.Command.ID, time.Now()
	if err := w.pipe.FinishCommand(ctx, input, answer); err != nil && ctx.Err() == nil {
		w.t.Error(err)
	}
}

func accept(flow.Command) pipeline.Reply { return pipeline.Reply{} }
