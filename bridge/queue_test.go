package bridge

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/testlog"
)

// sized is an item of so many bytes.
func sized(bytes int64) item { return item{frames: [][]byte{make([]byte, bytes-itemOverhead)}} }

// What is not decoded yet may use three quarters of the room for what is, as far as
// that is free.
func TestQueueBorrowsTheWindowsRoom(t *testing.T) {
	buffer := newReplayBuffer(4000, time.Minute, nil)
	q := newQueue(2000, buffer.spare)
	for n := range 5 {
		if !q.offer(sized(1000)) {
			t.Fatalf("message %d found no room: 2000 bytes of its own, and 3000 of those that the buffer does not use", n+1)
		}
	}
	if q.offer(sized(1000)) {
		t.Error("a message found room beyond both")
	}
	q.pop(3)
	buffer.add([]entry{{data: make([]byte, 3000-entryOverhead), heard: time.Now()}}, 1)
	if q.offer(sized(1000)) {
		t.Error("a message found room that the buffer has taken meanwhile")
	}
	q.pop(2)
	if !q.offer(sized(1000)) {
		t.Error("a message found no room within the queue's own bound")
	}
}

func TestFullQueueWaits(t *testing.T) {
	q := newQueue(1000, func() int64 { return 0 })
	if waited, err := q.push(t.Context(), sized(5000)); waited || err != nil {
		t.Errorf("an empty queue has room for anything: waited %t, %v", waited, err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if waited, err := q.push(done, sized(300)); !waited || err == nil {
		t.Errorf("a full queue took a message: waited %t, %v", waited, err)
	}
	pushed := make(chan error, 1)
	go func() {
		_, err := q.push(t.Context(), sized(300))
		pushed <- err
	}()
	q.pop(1)
	if err := <-pushed; err != nil {
		t.Errorf("a queue with room again did not take a message: %v", err)
	}
}

func TestOneOverflowIsToldOnce(t *testing.T) {
	var log testlog.Log
	asked := 0
	b := &Bridge{metrics: newMetrics(prometheus.NewRegistry())}
	l := &listener{endpoint: "tcp://127.0.0.1:1", feed: &feed{Bridge: b, log: log.Logger(), requestResync: func(string) { asked++ }}}
	began := time.Now()
	for n := range 5 {
		l.overflowed(began.Add(time.Duration(n) * steady / 2))
	}
	l.overflowed(began.Add(4 * steady))
	if l.status.Gaps != 2 || asked != 6 {
		t.Errorf("%d gaps, %d comparisons asked for; want 2, 6", l.status.Gaps, asked)
	}
	if told := strings.Count(log.String(), "was full"); told != 2 {
		t.Errorf("told %d times, want 2:\n%s", told, log.String())
	}
}

// Where nobody has the time to decode what was heard, the listener does it: what
// waits then takes a fraction of the room, and nothing overflows. Order and content
// stay what they are without it.
func TestListenerUnderstandsAheadWhereRoomIsScarce(t *testing.T) {
	pass, err := newFilter(servicesNeed)
	must(t, err)
	translator := func() *decoder { return newDecoder(0, pass, "tcp://127.0.0.1:1") }
	listener := &listener{decoder: translator(), feed: &feed{Bridge: &Bridge{metrics: newMetrics(prometheus.NewRegistry())}}}
	const messages = 200
	heard := make([]item, messages)
	for i := range heard {
		frames := vmFrames(one.VM{ID: i, Name: "web", State: one.VMActive, LCMState: one.LCMRunning, Service: 7, Role: "web"})
		const end = "</USER_TEMPLATE>"
		heard[i].frames = changedFrames(frames, string(frames[0]), end, "<NOTE>"+strings.Repeat("x", 6000)+"</NOTE>"+end)
	}
	heard[messages-1].frames = [][]byte{[]byte("EVENT STATE nonsense"), nil}
	room := 40 * heard[0].size()
	q := newQueue(room/2, func() int64 { return room / 2 })
	for _, message := range heard {
		must(t, listener.push(limited(t), q, message))
	}
	asHeard := slices.IndexFunc(q.items, func(i item) bool { return i.translation != nil })
	if asHeard < 15 || asHeard > 25 || listener.status.Gaps > 0 {
		t.Errorf("%d messages wait as they were heard, want about 20, half of the room; %d times they had to wait for room", asHeard, listener.status.Gaps)
	}
	var got []entry
	done, cancel := context.WithCancel(t.Context())
	cancel()
	decodeQueue(done, q, translator(), func(entries []entry, _ int) { got = append(got, entries...) })
	want := translator().decode(heard)
	if len(got) != messages || len(want) != messages || q.bytes != 0 {
		t.Fatalf("%d and %d events of %d messages; %d bytes are left", len(got), len(want), messages, q.bytes)
	}
	for i := range want {
		if got[i].hash != want[i].hash || got[i].subject != want[i].subject || got[i].objectID != want[i].objectID {
			t.Fatalf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}
