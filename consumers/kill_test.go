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

// death is how a mortal dies at a call.
type death int

const (
	beforeCall   death = iota // oned never sees the call
	beforeAnswer              // oned carries it out, and the answer is lost
	beforeCommit              // the answer comes, and nothing can be stored any more
	deaths
)

func (d death) String() string {
	return []string{"before", "before the answer of", "before the commit after"}[d]
}

// moment is when a mortal dies: at its nth call.
type moment struct {
	nth int64
	how death
}

func (m moment) String() string { return fmt.Sprintf("%s call %d", m.how, m.nth) }

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
	ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
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
	switch {
	case !last:
		m.forward.ServeHTTP(out, in)
	case at.how == beforeCall:
		m.die()
		panic(http.ErrAbortHandler)
	case at.how == beforeAnswer:
		m.forward.ServeHTTP(discard{header: http.Header{}}, in)
		m.die()
		panic(http.ErrAbortHandler)
	default:
		m.die()
		m.forward.ServeHTTP(out, in)
	}
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

// die cuts the worker off.
func (m *mortal) die() {
	m.dead.Store(true)
	m.pipe.Conn().Close()
	close(m.died)
}

// discard is where the answer of an applied call goes that nobody hears.
type discard struct{ header http.Header }

func (d discard) Header() http.Header          { return d.header }
func (discard) Write(text []byte) (int, error) { return len(text), nil }
func (discard) WriteHeader(int)                {}
