package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// stopwatch hears the hook events as they leave ZeroMQ, and the calls as they
// reach oned.
type stopwatch struct {
	mutex   sync.Mutex
	running map[string]time.Time // by VM id: when RUNNING left ZeroMQ
	called  map[string]time.Time // by VM name: when its instantiate arrived
	changed chan struct{}
}

// listen starts a stopwatch on the stand; heard, if not nil, is called with the
// id of each VM that runs.
func listen(b *testing.B, s *stand, heard func(id string)) *stopwatch {
	b.Helper()
	w := &stopwatch{running: map[string]time.Time{}, called: map[string]time.Time{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	socket := zmq4.NewSub(ctx)
	must(b, socket.Dial(s.app.Sim().HooksEndpoint()))
	must(b, socket.SetOption(zmq4.OptionSubscribe, "EVENT STATE VM/ACTIVE/RUNNING/"))
	must(b, s.app.Sim().WaitSubscribed(b.Context(), "EVENT STATE VM/ACTIVE/RUNNING/"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			message, err := socket.Recv()
			if err != nil {
				return
			}
			id := strings.TrimSpace(strings.TrimPrefix(string(message.Frames[0]), "EVENT STATE VM/ACTIVE/RUNNING/"))
			w.note(w.running, id)
			if heard != nil {
				heard(id)
			}
		}
	}()
	b.Cleanup(func() { cancel(); _ = socket.Close(); <-done })
	s.app.Sim().OnCall(func(call sim.Call) {
		if call.Method == "one.template.instantiate" {
			w.noteAt(w.called, strings.Trim(call.Arguments[1], `"`), call.Received)
		}
	})
	return w
}

func (w *stopwatch) note(where map[string]time.Time, key string) { w.noteAt(where, key, time.Now()) }

func (w *stopwatch) noteAt(where map[string]time.Time, key string, at time.Time) {
	w.mutex.Lock()
	where[key] = at
	w.mutex.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// await returns the time noted under the key, waiting for it.
func (w *stopwatch) await(b *testing.B, where map[string]time.Time, key string) time.Time {
	b.Helper()
	limit := time.NewTimer(poll.Limit)
	defer limit.Stop()
	for {
		w.mutex.Lock()
		at, known := where[key]
		w.mutex.Unlock()
		if known {
			return at
		}
		select {
		case <-w.changed:
		case <-limit.C:
			b.Fatalf("nothing was heard of %s", key)
		}
	}
}

// BenchmarkNextRole is the time from a role's last VM event leaving ZeroMQ to
// the instantiate call of the next role. The floor is a loop that hears the
// same event and makes the same call at once.
func BenchmarkNextRole(b *testing.B) {
	var ours, floor []time.Duration
	for b.Loop() {
		ours = append(ours, flowjetNextRole(b)...)
		floor = append(floor, bareNextRole(b)...)
	}
	report(b, "last VM event to the next role's instantiate", ours, floor)
}

func flowjetNextRole(b *testing.B) []time.Duration {
	b.Helper()
	s := newStand(b)
	w := listen(b, s, nil)
	path := s.template(b, `{"name": "bench", "deployment": "straight", "roles": [
		{"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
		{"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["Master"]}]}`)
	var samples []time.Duration
	for range rounds {
		service := idOf(s.post(b, path, instantiate))
		called := w.await(b, w.called, fmt.Sprintf("Slave_0_(service_%s)", service))
		samples = append(samples, called.Sub(w.await(b, w.running, s.vmNamed(b, fmt.Sprintf("Master_0_(service_%s)", service)))))
	}
	return samples
}

// vmNamed is the id of the VM with the name.
func (s *stand) vmNamed(b *testing.B, name string) string {
	b.Helper()
	for _, vm := range s.app.Sim().VMs() {
		if vm.Name == name {
			return fmt.Sprint(vm.ID)
		}
	}
	b.Fatalf("there is no VM %s", name)
	return ""
}

func bareNextRole(b *testing.B) []time.Duration {
	b.Helper()
	s := newStand(b)
	session := s.oned.For("oneadmin")
	next := make(chan string, 1)
	w := listen(b, s, func(id string) {
		select {
		case name := <-next:
			if _, err := session.InstantiateTemplate(context.Background(), 0, name, true, ""); err != nil {
				b.Error(err)
			}
		default:
		}
	})
	var samples []time.Duration
	for i := range rounds {
		name := fmt.Sprintf("second-%d", i)
		next <- name
		first, err := session.InstantiateTemplate(b.Context(), 0, fmt.Sprintf("first-%d", i), false, "")
		must(b, err)
		samples = append(samples, w.await(b, w.called, name).Sub(w.await(b, w.running, fmt.Sprint(first))))
	}
	return samples
}
