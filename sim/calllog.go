package sim

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// maxLoggedCalls and maxLoggedArgument bound the call log.
const (
	maxLoggedCalls    = 50_000
	maxLoggedArgument = 512
)

// Call is one call that was answered (or would have been).
type Call struct {
	// Sequence counts calls from 1 in the order of their arrival.
	Sequence uint64 `json:"sequence"`
	Method   string `json:"method"`
	// User is who the call acted for, "" where nobody was authenticated.
	User string `json:"user"`
	// Arguments are the parameters behind the session, long ones cut, secret
	// ones masked.
	Arguments []string `json:"arguments"`
	// Received is when the call had been read; it carries the monotonic clock.
	Received time.Time `json:"received"`
	// Took is the time to its answer, delays included.
	Took time.Duration `json:"took_ns"`
	// Code is 0 or oned's refusal, whose text is Message.
	Code    opennebula.Code `json:"code"`
	Message string          `json:"message,omitempty"`
	// ID is the number that a successful call answered with, -1 without one.
	ID int `json:"id"`
}

// OK reports whether the call was not refused.
func (c Call) OK() bool { return c.Code == 0 }

// callLog keeps the last calls, and counts all.
type callLog struct {
	mu       sync.Mutex
	sequence uint64
	calls    []Call
	counts   map[string]int
	watchers []func(Call)
}

func newCallLog() *callLog { return &callLog{counts: map[string]int{}} }

// begin notes a call's arrival.
func (l *callLog) begin(method string, parameters []value, secrets []int) *Call {
	received := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sequence++
	l.counts[method]++
	return &Call{
		Sequence: l.sequence, Method: method, Received: received, ID: -1,
		Arguments: loggedArguments(parameters, secrets),
	}
}

func loggedArguments(parameters []value, secrets []int) []string {
	logged := make([]string, 0, len(parameters))
	for i, parameter := range parameters[1:] {
		text := parameter.published()
		if slices.Contains(secrets, i+1) {
			text = hidden
		}
		if len(text) > maxLoggedArgument {
			text = strings.Clone(text[:maxLoggedArgument])
		}
		logged = append(logged, text)
	}
	return logged
}

// finish notes a call's end and tells the watchers.
func (l *callLog) finish(c *Call, who string, a answer) {
	c.Took = time.Since(c.Received)
	c.User = who
	c.Code = a.code()
	switch {
	case a.refusal != nil:
		c.Message = a.refusal.message
	case !a.isText:
		c.ID = a.number
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

// OnCall has a function told of every call once it has been carried out and
// before it is answered. It must be quick and is called from many goroutines.
func (l *callLog) OnCall(watch func(Call)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers[:len(l.watchers):len(l.watchers)], watch)
}

// Calls are the logged calls of a method ("" is all) behind a sequence number,
// in the order of their ends. The log keeps the last 25,000 to 50,000.
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

// CallCounts are how often each method was called since the start, or since
// ClearCalls.
func (l *callLog) CallCounts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]int, len(l.counts))
	for method, count := range l.counts {
		counts[method] = count
	}
	return counts
}

// ClearCalls forgets the logged calls and their counts.
func (l *callLog) ClearCalls() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.counts = nil, map[string]int{}
}
