package webhooks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secretText = "a secret of the tests, long enough"

// world is a NATS server to which transitions are told.
type world struct {
	t    testing.TB
	nats *natstest.Node
	pipe clients
	told map[int]uint64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, nats: natstest.NewNode(t), told: map[int]uint64{}}
	w.pipe = w.open()
	t.Cleanup(w.pipe.Close)
	return w
}

func (w *world) open() clients {
	w.t.Helper()
	pipe, err := pipeline.Open(w.t.Context(), pipeline.Config{URL: w.nats.URL()})
	w.must(err)
	return newClients(pipe)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// tell tells the next transition of a service.
func (w *world) tell(service int, state string, named ...spec.Webhook) {
	w.t.Helper()
	w.told[service]++
	w.must(w.pipe.PublishTransitions(w.t.Context(), []pipeline.Transition{transition(service, state, named)}, w.told[service]))
}

func transition(service int, state string, named []spec.Webhook) pipeline.Transition {
	return pipeline.Transition{
		Service: service, Change: flow.Change{Kind: "service", New: state}, Webhooks: named, Cause: pipeline.Cause{Kind: "wake"}, Time: time.Now(),
	}
}

// own gives a service an owner.
func (w *world) own(service int, owner string) {
	w.t.Helper()
	record := pipeline.Record{State: flow.State{Service: spec.Service{ID: service, Owner: one.Identity{UName: owner}}}}
	_, err := w.pipe.SaveRecord(w.t.Context(), service, record, 0)
	w.must(err)
}

// settings are such that tests need not wait, and post to this host.
func settings(receivers ...Receiver) Settings {
	return Settings{
		Receivers: receivers, Services: true, FirstPause: 5 * time.Millisecond, LongestPause: 20 * time.Millisecond, Timeout: 20 * time.Second,
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// begin has deliveries begin here and not at whatever comes after the first
// deliverer has started.
func (w *world) begin() {
	w.t.Helper()
	_, err := w.pipe.BeginCursor(w.t.Context(), pipeline.WebhooksCursor, 0)
	w.must(err)
}

// start starts a deliverer that owns everything and ends with the test.
func (w *world) start(settings Settings) *Deliverer {
	w.t.Helper()
	w.begin()
	d := New(Config{Settings: settings, Owns: func(string) bool { return true }, Version: "test"}, w.pipe.Pipeline)
	w.must(d.Start(w.t.Context()))
	w.t.Cleanup(func() { w.stop(d) })
	return d
}

func (w *world) stop(d *Deliverer) {
	w.t.Helper()
	ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	w.must(d.Stop(ending))
}

func (w *world) secret() string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "secret")
	w.must(os.WriteFile(path, []byte(secretText+"\n"), 0o600))
	return path
}

// post is what a receiver was sent.
type post struct {
	id, signature, body string
	at                  time.Time
	attempt             int
}

// receiver is a real HTTP receiver that notes what comes and answers as it is told.
type receiver struct {
	*httptest.Server
	mutex  sync.Mutex
	posts  []post
	came   chan post
	answer func(number int, out http.ResponseWriter, in *http.Request)
}

func newReceiver(t testing.TB, answer func(number int, out http.ResponseWriter, in *http.Request)) *receiver {
	t.Helper()
	r := &receiver{came: make(chan post, 10_000), answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(out http.ResponseWriter, in *http.Request) {
	body, _ := io.ReadAll(in.Body)
	seconds, _ := strconv.ParseInt(in.Header.Get(HeaderTimestamp), 10, 64)
	attempt, _ := strconv.Atoi(in.Header.Get(HeaderAttempt))
	came := post{in.Header.Get(HeaderID), in.Header.Get(HeaderSignature), string(body), time.Unix(seconds, 0), attempt}
	r.mutex.Lock()
	r.posts = append(r.posts, came)
	number := len(r.posts)
	r.mutex.Unlock()
	if r.answer != nil {
		r.answer(number, out, in)
	}
	r.came <- came
}

// total is how many posts have come.
func (r *receiver) total() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.posts)
}

// next waits for the next post whose handling has ended.
func (r *receiver) next(t testing.TB) post {
	t.Helper()
	select {
	case came := <-r.came:
		return came
	case <-time.After(poll.Limit):
		t.Fatal("waited in vain for a post")
		return post{}
	}
}

// inOrder waits for the ids of so many transitions of a service and makes sure
// that each comes, in order; one may come again before the next.
func (r *receiver) inOrder(t *testing.T, service, count int) {
	t.Helper()
	for last := 0; last < count; {
		id := r.next(t).id
		switch id {
		case fmt.Sprintf("%d-%d", service, last+1):
			last++
		case fmt.Sprintf("%d-%d", service, last):
		default:
			t.Fatalf("%s came after %d-%d", id, service, last)
		}
	}
}
