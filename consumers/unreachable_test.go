package consumers_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// TestBlindWorkerIsReplaced: a worker that reaches NATS and not oned would keep
// its services for itself and do nothing for them.
func TestBlindWorkerIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.hear()
	blind := w.startMortal("blind", moment{})
	blind.hangs.Store(true)
	w.startWorker("seeing", quick())
	services := make([]int, 8)
	for i := range services {
		services[i] = w.service(masterSlave, 1, 1)
		w.accepted(services[i], flow.VerbDeploy, nil)
	}
	for _, service := range services {
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 2)
	}
	blind.hangs.Store(false)
	before := blind.calls.Load()
	for blind.calls.Load() == before || blind.deployed.Load() == 0 {
		service := w.service(masterSlave, 1, 1)
		w.accepted(service, flow.VerbDeploy, nil)
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 2)
	}
	close(blind.quit)
	blind.bury(t)
}

// hang keeps a call waiting, as a network that loses every packet does.
func (m *mortal) hang(in *http.Request) {
	select {
	case <-in.Context().Done():
	case <-m.quit:
	}
	panic(http.ErrAbortHandler)
}

// corner is the zone as a host sees it whose oned, the leader, is cut off from the other servers, and so is the host: the leader
// goes on saying that it leads, and what else it is asked hangs.
type corner struct {
	cut       atomic.Bool
	quit      chan struct{}
	endpoints []string // the leader's first
}

func (w *world) newCorner() *corner {
	w.t.Helper()
	c := &corner{quit: make(chan struct{})}
	servers, leader := w.sim.Servers(), w.leader()
	for _, n := range []int{leader, (leader + 1) % 3, (leader + 2) % 3} {
		target, err := url.Parse(servers[n].Endpoint)
		must(w.t, err)
		target.Path = ""
		forward := httputil.NewSingleHostReverseProxy(target)
		forward.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		var leads atomic.Pointer[[]byte]
		forward.ModifyResponse = func(answer *http.Response) error {
			if answer.Request.Header.Get("Asks") == "raftstatus" && n == leader && !c.cut.Load() {
				text, err := io.ReadAll(answer.Body)
				answer.Body = io.NopCloser(bytes.NewReader(text))
				leads.Store(&text)
				return err
			}
			return nil
		}
		door := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			text, err := io.ReadAll(in.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			asks := bytes.Contains(text, []byte("one.zone.raftstatus"))
			switch said := leads.Load(); {
			case c.cut.Load() && asks && said != nil:
				_, _ = out.Write(*said)
			case c.cut.Load():
				select {
				case <-in.Context().Done():
				case <-c.quit:
				}
				panic(http.ErrAbortHandler)
			default:
				in.Body = io.NopCloser(bytes.NewReader(text))
				if asks {
					in.Header.Set("Asks", "raftstatus")
				}
				forward.ServeHTTP(out, in)
			}
		}))
		w.t.Cleanup(door.Close)
		c.endpoints = append(c.endpoints, door.URL+"/RPC2")
	}
	w.t.Cleanup(func() { close(c.quit) }) // before the doors close
	return c
}

// TestWorkerBesideADeposedLeaderIsReplaced: the oned that it calls answers, and claims to lead, but the zone has another leader.
func TestWorkerBesideADeposedLeaderIsReplaced(t *testing.T) {
	w := newZone(t)
	w.hear()
	c := w.newCorner()
	credentials, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	must(t, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: c.endpoints[0], Others: c.endpoints[1:], Credentials: credentials, Timeout: 5 * time.Second})
	oned.Follow(t.Context(), 0)
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: w.nats.URL(), Name: "beside"})
	must(t, err)
	t.Cleanup(pipe.Close)
	var handled atomic.Int64
	beside := consumers.New(consumers.Config{
		ID: "beside", Settings: quick(), DoubtOned: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Handling: func(pipeline.Work) { handled.Add(1) },
	}, pipe, oned)
	must(t, beside.Start(t.Context()))
	t.Cleanup(func() { _ = beside.Stop(t.Context()) })
	w.startWorker("seeing", quick())
	for handled.Load() == 0 {
		w.deployed(masterSlave, 1, 1)
	}
	c.cut.Store(true)
	must(t, w.sim.Lead((w.leader()+1)%3))
	poll.Until(t, "the zone's leader to be known", func() bool { return w.oned.Doubt() == 0 })
	for range 8 { // some of them are of the partitions that the other has
		w.deployed(masterSlave, 1, 1)
	}
}
