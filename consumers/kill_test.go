package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// mortal is a worker that dies at a chosen call to oned: nothing of it gets
// through to oned or NATS any more, as after kill -9.
type mortal struct {
	worker  *consumers.Worker
	pipe    *pipeline.Pipeline
	oned    *opennebula.Client
	front   *http.Server
	calls   atomic.Int64
	dead    atomic.Bool
	died    chan struct{}
	forward *httputil.ReverseProxy
	// hangs has calls get no answer until quit is closed.
	hangs atomic.Bool
	quit  chan struct{}
	// deployed counts the VMs that were asked for.
	deployed atomic.Int64
}

// moment is when a mortal dies: at its nth call, before oned sees it or after.
type moment struct {
	nth    int64
	before bool
}

func (m moment) String() string {
	if m.before {
		return fmt.Sprintf("before call %d", m.nth)
	}
	return fmt.Sprintf("after call %d", m.nth)
}

func (w *world) startMortal(id string, at moment) *mortal {
	w.t.Helper()
	target, err := url.Parse(w.sim.Endpoint())
	must(w.t, err)
	target.Path = ""
	m := &mortal{died: make(chan struct{}), quit: make(chan struct{}), forward: httputil.NewSingleHostReverseProxy(target)}
	address := m.listen(w.t, at)
	credentials, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	must(w.t, err)
	m.oned = opennebula.NewClient(opennebula.Config{Endpoint: "http://" + address + "/RPC2", Credentials: credentials, Timeout: 5 * time.Second})
	m.pipe, err = pipeline.Open(w.t.Context(), pipeline.Config{URL: w.nats.URL(), Name: id})
	must(w.t, err)
	m.worker = consumers.New(consumers.Config{ID: id, Settings: quick()}, m.pipe, m.oned)
	must(w.t, m.worker.Start(w.t.Context()))
	return m
}

// bury releases what a dead worker has left in this process.
func (m *mortal) bury(t *testing.T) {
	t.Helper()
	m.pipe.Close()
	ending, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, m.worker.Stop(ending))
	m.oned.Close()
	must(t, m.front.Close())
}

// listen puts the mortal's own door before oned.
func (m *mortal) listen(t *testing.T, at moment) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	m.forward.ErrorLog = log.New(io.Discard, "", 0)
	m.front = &http.Server{
		Handler:           http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) { m.pass(out, in, at) }),
		ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = m.front.Serve(listener) }()
	return listener.Addr().String()
}

// pass lets a call through to oned, until the moment has come.
func (m *mortal) pass(out http.ResponseWriter, in *http.Request, at moment) {
	if m.dead.Load() {
		panic(http.ErrAbortHandler)
	}
	if m.hangs.Load() {
		m.hang(in)
	}
	m.count(in)
	last := m.calls.Add(1) == at.nth
	if last && at.before {
		m.die()
	}
	if !last {
		m.forward.ServeHTTP(out, in)
		return
	}
	m.forward.ServeHTTP(discard{header: http.Header{}}, in)
	m.die()
}

// count looks for calls that make VMs.
func (m *mortal) count(in *http.Request) {
	text, err := io.ReadAll(in.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if bytes.Contains(text, []byte("template.instantiate")) {
		m.deployed.Add(1)
	}
	in.Body = io.NopCloser(bytes.NewReader(text))
}

// die cuts the worker off and ends the request that it waits for.
func (m *mortal) die() {
	m.dead.Store(true)
	m.pipe.Conn().Close()
	close(m.died)
	panic(http.ErrAbortHandler)
}

// discard is where the answer of an applied call goes that nobody hears.
type discard struct{ header http.Header }

func (d discard) Header() http.Header          { return d.header }
func (discard) Write(text []byte) (int, error) { return len(text), nil }
func (discard) WriteHeader(int)                {}

// TestWorkerDiesAtAnyCall kills the worker of a service at every call that it
// makes while the service is deployed, scaled up and down and undeployed,
// before oned sees the call and after. Another worker brings it to the same end.
func TestWorkerDiesAtAnyCall(t *testing.T) {
	w := newWorld(t)
	w.hear()
	for _, before := range []bool{true, false} {
		for nth := int64(1); ; nth++ {
			at := moment{nth: nth, before: before}
			if !w.liveThrough(at) {
				t.Logf("%d calls to die at, before or after: %t", nth-1, before)
				break
			}
		}
	}
}

// liveThrough takes a service through its life with a worker that dies at the
// moment, and another that starts then; it is false when the first made fewer
// calls than that.
func (w *world) liveThrough(at moment) bool {
	w.t.Helper()
	first := w.startMortal("mortal "+at.String(), at)
	heir := consumers.New(consumers.Config{ID: "heir " + at.String(), Settings: quick()}, w.pipe, w.oned)
	finished, inherited := make(chan struct{}), make(chan error, 1)
	go func() {
		select {
		case <-first.died:
			inherited <- heir.Start(context.Background())
		case <-finished:
			inherited <- nil
		}
	}()
	w.life(at)
	close(finished)
	must(w.t, <-inherited)
	reached := first.dead.Load()
	first.bury(w.t)
	must(w.t, heir.Stop(context.Background()))
	return reached
}

// life is what happens to a service, whoever drives it.
func (w *world) life(at moment) {
	w.t.Helper()
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	w.settled(service, at, 2)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	w.settled(service, at, 4)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
	w.settled(service, at, 2)
	w.accepted(service, flow.VerbUndeploy, nil)
	poll.Until(w.t, fmt.Sprintf("service %d to be gone (death %s)", service, at), func() bool {
		_, exists := w.body(service)
		return !exists && len(w.vms(service)) == 0
	})
	w.historyHolds(service, fmt.Sprintf(" (death %s)", at))
}

func (w *world) settled(service int, at moment, count int) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("service %d to be RUNNING (death %s)", service, at), func() bool {
		body, exists := w.body(service)
		return exists && (flow.Service{Body: body}).State() == flow.ServiceRunning
	})
	w.exactly(service, count)
	if w.t.Failed() {
		w.t.Fatalf("death %s", at)
	}
}
