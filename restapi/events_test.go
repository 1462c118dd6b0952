package restapi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// happened publishes a change of a service's state.
func (w *world) happened(service int, state string) {
	w.t.Helper()
	last, err := w.pipe.LastTransitionSequence(w.t.Context())
	w.must(err)
	change := flow.Change{Kind: "service", New: state}
	w.must(w.pipe.PublishTransitions(w.t.Context(), []pipeline.Transition{{Service: service, Change: change, Time: time.Now()}}, last+1))
}

// following is an open stream of events.
type following struct {
	w     *world
	lines *bufio.Scanner
}

func (w *world) follow(user, query string, headers ...string) *following {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), poll.Limit)
	w.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/flowjet/v1/events"+query, http.NoBody)
	w.must(err)
	name, secret, _ := strings.Cut(user, ":")
	request.SetBasicAuth(name, secret)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	w.must(err)
	w.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("GET events%s: %s", query, response.Status)
	}
	return &following{w: w, lines: bufio.NewScanner(response.Body)}
}

// next is the next event as "id kind service state".
func (f *following) next() string {
	f.w.t.Helper()
	var id, kind, data string
	for f.lines.Scan() {
		field, value, _ := strings.Cut(f.lines.Text(), ": ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			kind = value
		case field == "data":
			data = value
		case f.lines.Text() == "" && id != "":
			_, service, _ := strings.Cut(data, `"service":`)
			service, _, _ = strings.Cut(service, ",")
			_, state, _ := strings.Cut(data, `"new":"`)
			state, _, _ = strings.Cut(state, `"`)
			return fmt.Sprintf("%s %s %s %s", id, kind, service, state)
		}
	}
	f.w.t.Fatalf("the stream has ended: %v", f.lines.Err())
	return ""
}

func TestEventsAreResumable(t *testing.T) {
	w := newWorld(t, Config{})
	mine, other := idOf(t, w.service(alice)), idOf(t, w.service(admin))
	w.happened(mine, "DEPLOYING")
	w.happened(other, "DEPLOYING")
	w.happened(mine, "RUNNING")
	all := w.follow(admin, "?since=0")
	for _, want := range []string{
		fmt.Sprintf("1 service %d DEPLOYING", mine), fmt.Sprintf("2 service %d DEPLOYING", other), fmt.Sprintf("3 service %d RUNNING", mine),
	} {
		if got := all.next(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// alice sees her own only, wherever she starts; Last-Event-ID counts more.
	hers, resumed := w.follow(alice, "?since=0"), w.follow(alice, "?since=0", "Last-Event-ID", "1")
	one := w.follow(alice, fmt.Sprintf("?service=%d&since=1", mine))
	live := w.follow(alice, "")
	if got := hers.next(); got != fmt.Sprintf("1 service %d DEPLOYING", mine) {
		t.Errorf("got %q", got)
	}
	for _, stream := range []*following{hers, resumed, one} {
		if got := stream.next(); got != fmt.Sprintf("3 service %d RUNNING", mine) {
			t.Errorf("got %q", got)
		}
	}
	w.happened(other, "RUNNING")
	w.happened(mine, "SCALING")
	for _, stream := range []*following{hers, resumed, one, live} {
		if got := stream.next(); got != fmt.Sprintf("5 service %d SCALING", mine) {
			t.Errorf("got %q", got)
		}
	}
	// The end of a service is told to who saw it live.
	w.must(w.oned.Server().DeleteDocument(t.Context(), mine))
	w.happened(mine, "DELETED")
	if got := live.next(); got != fmt.Sprintf("6 service %d DELETED", mine) {
		t.Errorf("got %q", got)
	}
}

// TestEventsContinueBehindTheEnd: when damage has cut the history off, clients ask for what follows an event that is lost.
func TestEventsContinueBehindTheEnd(t *testing.T) {
	w := newWorld(t, Config{})
	service := idOf(t, w.service(alice))
	w.happened(service, "DEPLOYING")
	behind, resumed := w.follow(alice, "?since=1000"), w.follow(alice, "", "Last-Event-ID", "1000")
	w.happened(service, "RUNNING")
	for _, stream := range []*following{behind, resumed} {
		if got := stream.next(); got != fmt.Sprintf("2 service %d RUNNING", service) {
			t.Errorf("got %q", got)
		}
	}
}

// TestEventsThatEnd: with follow=false the answer ends with the last event that there is.
func TestEventsThatEnd(t *testing.T) {
	w := newWorld(t, Config{})
	mine, other := idOf(t, w.service(alice)), idOf(t, w.service(admin))
	w.happened(mine, "DEPLOYING")
	w.happened(mine, "RUNNING")
	w.happened(other, "RUNNING")
	for query, want := range map[string]int{
		"?since=0": 2, fmt.Sprintf("?service=%d&since=0", mine): 2, fmt.Sprintf("?service=%d&since=1", mine): 1, "?since=3": 0, "": 0,
	} {
		got := w.expect(alice, "GET", "/flowjet/v1/events"+cmp.Or(query, "?")+"&follow=false", "", 200, "")
		if found := strings.Count(got.body, "data: "); found != want {
			t.Errorf("%s: %d events, want %d", query, found, want)
		}
	}
}

// TestEventsEndWithoutNATS: a client must not take silence for nothing happening. A NATS server that the others do not reach keeps
// its connections and is silent, as is one without the stream.
func TestEventsEndWithoutNATS(t *testing.T) {
	for name, away := range map[string]func(*world){
		"no server": func(w *world) { w.nats.Stop() },
		"no answer": func(w *world) { w.must(w.pipe.JetStream().DeleteStream(t.Context(), pipeline.StreamFlow)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{aliveEvery: 100 * time.Millisecond})
			live := w.follow(alice, "")
			away(w)
			for live.lines.Scan() {
			}
			if err := live.lines.Err(); err != nil {
				t.Errorf("the stream has not ended: %v", err)
			}
		})
	}
}

// TestQuietStreamsStayOpen, also while much happens to services that the client may not see: it, and a load balancer, give up a silent one.
func TestQuietStreamsStayOpen(t *testing.T) {
	w := newWorld(t, Config{aliveEvery: 100 * time.Millisecond})
	other := idOf(t, w.service(admin))
	stream, alive := w.follow(alice, ""), make(chan bool)
	go func() {
		defer close(alive)
		for stream.lines.Scan() && stream.lines.Text() != ": alive" {
		}
	}()
	for heard := false; !heard; {
		w.happened(other, "RUNNING")
		select {
		case <-alive:
			heard = true
		default:
		}
	}
	if err := stream.lines.Err(); err != nil {
		t.Errorf("nothing was sent: %v", err)
	}
}

func TestEventsRefuse(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.streams = 1 })})
	service := w.service(admin)
	id := itoa(idOf(t, service))
	w.expect("", "GET", "/flowjet/v1/events", "", 401, "")
	w.expect(alice, "GET", "/flowjet/v1/events?service="+id, "", 403, "read service "+id)
	w.expect(alice, "GET", "/flowjet/v1/events?service=x", "", 400, "service must be")
	w.expect(alice, "GET", "/flowjet/v1/events?since=-1", "", 400, "since")
	w.expect(alice, "GET", "/flowjet/v1/events?follow=maybe", "", 400, "follow must be")
	w.follow(alice, "")
	w.expect(alice, "GET", "/flowjet/v1/events", "", 429, "too many clients follow")
}

func TestAStoppingServerEndsItsStreams(t *testing.T) {
	w := newWorld(t, Config{Listen: "127.0.0.1:0"})
	w.must(w.api.Start(t.Context()))
	w.url = "http://" + w.api.Addr()
	stream := w.follow(admin, "")
	w.bounded(w.api.Stop)
	for stream.lines.Scan() {
		if strings.HasPrefix(stream.lines.Text(), "id:") {
			t.Errorf("got %q", stream.lines.Text())
		}
	}
}

// TestAnEndedServiceIsToldToItsOwner: of what is kept of services that have gone,
// everybody sees what was theirs.
func TestAnEndedServiceIsToldToItsOwner(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	mine, other := w.running(alice), w.running(admin)
	for _, service := range []string{mine, other} {
		w.expect(admin, "DELETE", service, "", 204, "")
		poll.Until(t, service+" to end", func() bool { return w.call(admin, "GET", service, "").status == 404 })
	}
	id := fmt.Sprintf(" %d ", idOf(t, mine))
	hers := w.follow(alice, "?since=0")
	for got := ""; !strings.HasSuffix(got, " DELETED"); {
		if got = hers.next(); !strings.Contains(got, id) {
			t.Fatalf("got %q", got)
		}
	}
	w.follow(alice, "?service="+itoa(idOf(t, mine)))
	w.expect(alice, "GET", "/flowjet/v1/events?service="+itoa(idOf(t, other)), "", 404, "there is no service")
}

// TestAChangedPasswordEndsStreams within the time in which it ends everything else.
func TestAChangedPasswordEndsStreams(t *testing.T) {
	const trusted = time.Millisecond
	w := newWorld(t, Config{credentialTTL: trusted})
	service := idOf(t, w.service(alice))
	stream := w.follow(alice, "")
	w.happened(service, "DEPLOYING")
	if got := stream.next(); !strings.HasSuffix(got, "DEPLOYING") {
		t.Fatalf("got %q", got)
	}
	checked := time.Now()
	call, err := xmlrpc.EncodeMethodCall("one.user.passwd", admin, 2, "another")
	w.must(err)
	response, err := http.Post(w.sim.Endpoint(), "text/xml", bytes.NewReader(call))
	w.must(err)
	w.must(response.Body.Close())
	poll.Until(t, "the last check of the password to be too old", func() bool { return time.Since(checked) > trusted })
	w.happened(service, "RUNNING")
	for stream.lines.Scan() {
		if strings.HasPrefix(stream.lines.Text(), "id:") {
			t.Errorf("got %q", stream.lines.Text())
		}
	}
}
