package sim

import (
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/zmqpub"
)

// hooks is the hook manager's publisher: it takes events in order, lets the
// asked-for faults at them, and hands them to the socket.
type hooks struct {
	mu      sync.Mutex
	queue   []dueEvent
	wake    chan struct{}
	quit    chan struct{}
	ended   chan struct{}
	socket  *zmqpub.Publisher
	faults  eventFaults
	counted EventCounts
	told    func(endpoint, key string, body []byte)
}

// dueEvent is an event and when it may go out.
type dueEvent struct {
	due   time.Time
	event event
}

// eventFaults are what is to be done to the next events.
type eventFaults struct {
	drop, double, reorder int
	delay                 time.Duration
	held                  []event
}

// EventCounts are how many events (not copies of them) there were.
type EventCounts struct {
	// Published were handed to the socket, or had nobody to go to.
	Published int `json:"published"`
	// Lost were dropped on purpose or fell into a restart.
	Lost int `json:"lost"`
}

// maxQueuedEvents bounds the events that wait for their delay.
const maxQueuedEvents = 200_000

func newHooks(told func(endpoint, key string, body []byte)) *hooks {
	return &hooks{wake: make(chan struct{}, 1), told: told}
}

// start has events go out; what was asked for before it holds.
func (h *hooks) start() {
	h.quit, h.ended = make(chan struct{}), make(chan struct{})
	go h.run(h.quit, h.ended)
}

// publish takes events in order.
func (h *hooks) publish(events []event) {
	if len(events) == 0 {
		return
	}
	h.mu.Lock()
	for _, e := range events {
		h.admit(e)
	}
	h.mu.Unlock()
	h.signal()
}

func (h *hooks) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// admit lets the faults at one event.
func (h *hooks) admit(e event) {
	if h.faults.drop > 0 {
		h.faults.drop--
		h.counted.Lost++
		return
	}
	if h.faults.reorder > 0 {
		h.faults.reorder--
		h.faults.held = append(h.faults.held, e)
		if h.faults.reorder == 0 {
			h.releaseHeld()
		}
		return
	}
	h.enqueue(e)
	if h.faults.double > 0 {
		h.faults.double--
		h.enqueue(e)
	}
}

// releaseHeld puts held events on their way, the last first.
func (h *hooks) releaseHeld() {
	for i := len(h.faults.held) - 1; i >= 0; i-- {
		h.enqueue(h.faults.held[i])
	}
	h.faults.held = nil
}

func (h *hooks) enqueue(e event) {
	if len(h.queue) >= maxQueuedEvents {
		h.counted.Lost++
		return
	}
	h.queue = append(h.queue, dueEvent{time.Now().Add(h.faults.delay), e})
}

func (h *hooks) stop() {
	close(h.quit)
	<-h.ended
}

// run publishes what is due, in order.
func (h *hooks) run(quit, ended chan struct{}) {
	defer close(ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, wait := h.take()
		for _, item := range batch {
			h.send(item.event)
		}
		if len(batch) > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-h.wake:
		case <-timer.C:
		case <-quit:
			return
		}
	}
}

// take removes what is due from the queue, or says how long nothing will be.
func (h *hooks) take() ([]dueEvent, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := time.Now()
	n := 0
	for n < len(h.queue) && !h.queue[n].due.After(at) {
		n++
	}
	if n == 0 {
		if len(h.queue) == 0 {
			return nil, time.Hour
		}
		return nil, h.queue[0].due.Sub(at)
	}
	batch := h.queue[:n:n]
	h.queue = h.queue[n:]
	return batch, 0
}

// send sends an event under each of its keys.
func (h *hooks) send(e event) {
	h.mu.Lock()
	socket := h.socket
	if socket == nil {
		h.counted.Lost++
	} else {
		h.counted.Published++
	}
	h.mu.Unlock()
	if socket == nil {
		return
	}
	for _, key := range e.keys {
		if h.told != nil {
			h.told("tcp://"+socket.Addr(), key, e.body)
		}
		socket.Send([]byte(key), e.body)
	}
}

// attach has events go to a socket; nil loses them.
func (h *hooks) attach(socket *zmqpub.Publisher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.socket = socket
}

// change lets a function at the faults.
func (h *hooks) change(what func(f *eventFaults)) {
	h.mu.Lock()
	what(&h.faults)
	if h.faults.reorder == 0 {
		h.releaseHeld()
	}
	h.mu.Unlock()
	h.signal()
}

// DropEvents loses the next n events, each with all its copies.
func (h *hooks) DropEvents(n int) { h.change(func(f *eventFaults) { f.drop = n }) }

// DoubleEvents publishes the next n events twice.
func (h *hooks) DoubleEvents(n int) { h.change(func(f *eventFaults) { f.double = n }) }

// ReorderEvents holds the next n events and publishes them in reverse, once
// the last of them is there; 0 lets held ones go.
func (h *hooks) ReorderEvents(n int) { h.change(func(f *eventFaults) { f.reorder = n }) }

// DelayEvents holds every event back for so long from now on; 0 ends it.
func (h *hooks) DelayEvents(delay time.Duration) {
	h.change(func(f *eventFaults) { f.delay = delay })
}

// Events are how many events there were.
func (h *hooks) Events() EventCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counted
}
