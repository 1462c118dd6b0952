package sim

import (
	"container/heap"
	"sync"
	"time"
)

// clock runs things when they are due, in one goroutine, earliest first; two
// of the same moment in the order in which they were set.
type clock struct {
	mu       sync.Mutex
	items    alarmHeap
	sequence uint64
	wake     chan struct{}
	quit     chan struct{}
	ended    chan struct{}
}

type alarm struct {
	due      time.Time
	sequence uint64
	run      func()
}

func newClock() *clock {
	c := &clock{wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go c.loop()
	return c
}

// after has something run once the delay has passed.
func (c *clock) after(delay time.Duration, run func()) { c.at(time.Now().Add(delay), run) }

func (c *clock) at(due time.Time, run func()) {
	c.mu.Lock()
	c.sequence++
	heap.Push(&c.items, alarm{due: due, sequence: c.sequence, run: run})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the clock; what is not due yet never runs.
func (c *clock) stop() {
	close(c.quit)
	<-c.ended
}

func (c *clock) loop() {
	defer close(c.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, wait := c.next()
		if next != nil {
			next()
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.quit:
			return
		}
		if c.stopped() {
			return
		}
	}
}

func (c *clock) stopped() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// next takes what is due, or says how long nothing will be.
func (c *clock) next() (run func(), wait time.Duration) {
	if c.stopped() {
		return nil, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 {
		return nil, time.Hour
	}
	if wait = time.Until(c.items[0].due); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&c.items).(alarm).run, 0
}

type alarmHeap []alarm

func (h alarmHeap) Len() int { return len(h) }
func (h alarmHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].sequence < h[j].sequence
	}
	return h[i].due.Before(h[j].due)
}
func (h alarmHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *alarmHeap) Push(x any)   { *h = append(*h, x.(alarm)) }
func (h *alarmHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = alarm{}
	*h = old[:len(old)-1]
	return last
}
