// Package clock runs functions at set times.
package clock

import (
	"slices"
	"sync"
	"time"
)

// Clock runs functions when they are due, in one goroutine, earliest first; two that are due at the same moment run in the
// order in which they were set.
type Clock struct {
	mu     sync.Mutex
	alarms []alarm // in the order of their times
	wake   chan struct{}
	quit   chan struct{}
	ended  chan struct{}
}

type alarm struct {
	due time.Time
	run func()
}

// New returns a clock that begins with Start.
func New() *Clock { return &Clock{wake: make(chan struct{}, 1)} }

// Start begins to run due functions.
func (c *Clock) Start() {
	c.quit, c.ended = make(chan struct{}), make(chan struct{})
	go c.loop()
}

// Stop ends that, after the running function; the rest waits for another Start.
func (c *Clock) Stop() {
	close(c.quit)
	<-c.ended
}

// After runs a function once the delay has passed.
func (c *Clock) After(delay time.Duration, run func()) { c.At(time.Now().Add(delay), run) }

// At runs a function at a time.
func (c *Clock) At(due time.Time, run func()) {
	c.mu.Lock()
	at, _ := slices.BinarySearchFunc(c.alarms, due, func(a alarm, due time.Time) int {
		if a.due.After(due) {
			return 1
		}
		return -1
	})
	c.alarms = slices.Insert(c.alarms, at, alarm{due, run})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Clock) loop() {
	defer close(c.ended)
	for {
		select {
		case <-c.quit:
			return
		default:
		}
		run, wait := c.next()
		if run != nil {
			run()
			continue
		}
		select {
		case <-time.After(wait):
		case <-c.wake:
		case <-c.quit:
		}
	}
}

// next removes and returns the due function, or returns the time until one is due.
func (c *Clock) next() (run func(), wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alarms) == 0 {
		return nil, time.Hour
	}
	first := c.alarms[0]
	if wait = time.Until(first.due); wait > 0 {
		return nil, wait
	}
	c.alarms[0] = alarm{}
	c.alarms = c.alarms[1:]
	return first.run, 0
}
