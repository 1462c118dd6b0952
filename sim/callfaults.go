package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// CallFailure makes calls fail without being applied.
type CallFailure struct {
	Method  string          `json:"method"`  // the call, such as one.vm.action; "" is any
	Nth     int             `json:"nth"`     // the first call that fails, counted from now on; 0 and 1 are the next
	Count   int             `json:"count"`   // how many fail from there on; 0 and 1 are one
	Code    opennebula.Code `json:"code"`    // oned's error number; 0 is INTERNAL
	Message string          `json:"message"` // the refusal's text behind the method in brackets
}

type plannedFault struct {
	method      string
	skip, count int
	refusal     *refusal
	drop        bool
}

type callFaults struct {
	mu      sync.Mutex
	planned []*plannedFault
}

func (f *callFaults) plan(p *plannedFault) error {
	if err := knownMethod(p.method); err != nil {
		return err
	}
	p.skip, p.count = max(p.skip-1, 0), max(p.count, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planned = append(f.planned, p)
	return nil
}

// next returns the fault of the next call.
func (f *callFaults) next(method string) (due plannedFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.planned[:0]
	for _, p := range f.planned {
		switch {
		case p.method != "" && p.method != method:
		case p.skip > 0:
			p.skip--
		default:
			p.count--
			if p.refusal != nil {
				due.refusal = p.refusal
			}
			due.drop = due.drop || p.drop
		}
		if p.count > 0 {
			kept = append(kept, p)
		}
	}
	f.planned = kept
	return due
}

// FailCall makes calls fail without being applied.
func (f *callFaults) FailCall(failure CallFailure) error {
	code, message := cmp.Or(failure.Code, opennebula.CodeInternal), cmp.Or(failure.Message, "This call was told to fail.")
	return f.plan(&plannedFault{method: failure.Method, skip: failure.Nth, count: failure.Count, refusal: newRefusal(code, message)})
}

// DropAnswer applies the nth call of a method from now on and closes its connection without an answer; 0 and 1 are the next
// call.
func (f *callFaults) DropAnswer(method string, nth int) error {
	return f.plan(&plannedFault{method: method, skip: nth, drop: true})
}

// ClearFaults removes every planned fault of calls.
func (f *callFaults) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planned = nil
}

func knownMethod(method string) error {
	if _, known := methods[method]; !known && method != "" {
		return fmt.Errorf("plan a fault of %q: the simulator has no such call", method)
	}
	return nil
}

// delays are the simulator's configured delays.
type delays struct {
	mu         sync.Mutex
	bootStep   time.Duration
	calls      map[string]time.Duration // the methods' delays; that of "" is for those without one
	serialised bool
	held       atomic.Int64  // how many calls wait for the end of their delay
	writing    chan struct{} // held by a write where they are serialised
}

func (d *delays) locked(what func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what()
}

func (d *delays) boot() (delay time.Duration) {
	d.locked(func() { delay = d.bootStep })
	return delay
}

// writeTime is how long oned takes to write to its database, after the event.
const writeTime = 15 * time.Millisecond

// write returns how long a step's change takes to be written: no longer than until the next step.
func (d *delays) write() time.Duration { return min(d.boot(), writeTime) }

func (d *delays) of(method string) (delay time.Duration, serialised bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delay, own := d.calls[method]
	if !own {
		delay = d.calls[""]
	}
	return delay, d.serialised
}

// pass waits as long as the call takes; serialised writes pass one at a time, each until it leaves.
func (d *delays) pass(ctx context.Context, method string, writes bool) (leave func(), err error) {
	delay, serialised := d.of(method)
	leave = func() {}
	if serialised && writes {
		select {
		case d.writing <- struct{}{}:
			leave = func() { <-d.writing }
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if delay <= 0 {
		return leave, nil
	}
	d.held.Add(1)
	defer d.held.Add(-1)
	if err := idle.For(ctx, delay); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// SetBootDelay sets how long each step of a VM or network takes from now on; 0 is at once.
func (d *delays) SetBootDelay(delay time.Duration) { d.locked(func() { d.bootStep = max(delay, 0) }) }

// SetCallDelay sets how long every call of a method takes from now on, or every call without a delay of its own if method
// is "".
func (d *delays) SetCallDelay(method string, delay time.Duration) {
	d.locked(func() { d.calls[method] = delay })
}

// SetSerialisedWrites makes writes wait for each other, as in oned's database.
func (d *delays) SetSerialisedWrites(yes bool) { d.locked(func() { d.serialised = yes }) }

// maxLoggedCalls and maxLoggedArgument bound the call log.
const (
	maxLoggedCalls    = 50_000
	maxLoggedArgument = 512
)

// Call is one call that was answered, or whose answer was dropped.
type Call struct {
	Sequence  uint64          `json:"sequence"` // counts calls from 1 in the order of their arrival
	Method    string          `json:"method"`
	User      string          `json:"user"`      // the user for whom the call acted, "" if nobody was authenticated
	Arguments []string        `json:"arguments"` // the parameters behind the session, long ones cut, secret ones masked
	Received  time.Time       `json:"received"`  // when the call had been read; with the monotonic clock
	Took      time.Duration   `json:"took_ns"`   // the time to its answer, delays included
	Code      opennebula.Code `json:"code"`      // 0 or oned's refusal, whose text is Message
	Message   string          `json:"message,omitempty"`
	ID        int             `json:"id"` // the number in the answer of a successful call, -1 without one
}

// callLog keeps the last calls, and counts all.
type callLog struct {
	mu       sync.Mutex
	sequence uint64
	calls    []Call
	counts   map[string]int
	watchers []func(Call)
}

func (l *callLog) begin(method string, parameters []xmlrpc.Value, secrets []int) *Call {
	call := &Call{Method: method, Received: time.Now(), ID: -1, Arguments: make([]string, 0, len(parameters))}
	for i, parameter := range parameters[1:] {
		text := parameter.Published()
		if slices.Contains(secrets, i+1) {
			text = hidden
		}
		if len(text) > maxLoggedArgument {
			text = strings.Clone(text[:maxLoggedArgument])
		}
		call.Arguments = append(call.Arguments, text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sequence++
	call.Sequence = l.sequence
	l.counts[method]++
	return call
}

// finish records a call's end and calls the watchers.
func (l *callLog) finish(c *Call, who string, a answer) {
	c.Took = time.Since(c.Received)
	c.User = who
	if a.refusal != nil {
		c.Code, c.Message = a.refusal.code, a.refusal.message
	} else if id, is := a.value.(int); is {
		c.ID = id
	}
	l.mu.Lock()
	if len(l.calls) == maxLoggedCalls {
		l.calls = append(l.calls[:0], l.calls[maxLoggedCalls/2:]...)
	}
	l.calls = append(l.calls, *c)
	watchers := l.watchers
	l.mu.Unlock()
	for _, watch := range watchers {
		watch(*c)
	}
}

// OnCall registers a function that is called with every call once it has been carried out and before it is answered. It
// must be quick and is called from many goroutines.
func (l *callLog) OnCall(watch func(Call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers[:len(l.watchers):len(l.watchers)], watch)
}

// Calls returns the logged calls of a method ("" is all) after a sequence number, in the order of their ends. The log keeps
// the last 25,000 to 50,000.
func (l *callLog) Calls(method string, after uint64) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []Call{}
	for _, c := range l.calls {
		if (method == "" || c.Method == method) && c.Sequence > after {
			found = append(found, c)
		}
	}
	return found
}

// CallCounts returns how often each method was called since the start, or since ClearCalls.
func (l *callLog) CallCounts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// ClearCalls clears the logged calls and their counts.
func (l *callLog) ClearCalls() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.counts = nil, map[string]int{}
}
