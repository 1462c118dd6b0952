package sim

import (
	"fmt"
	"sync"

	"github.com/flowjet/flowjet/opennebula"
)

// CallFailure has calls refused without being applied.
type CallFailure struct {
	// Method is the call, such as one.vm.action; "" is any.
	Method string `json:"method"`
	// Nth is the first call that fails, counted from now on; 0 and 1 are the next.
	Nth int `json:"nth"`
	// Count is how many fail from there on; 0 and 1 are one.
	Count int `json:"count"`
	// Code is oned's error number; 0 is INTERNAL.
	Code opennebula.Code `json:"code"`
	// Message is the refusal's text behind the method in brackets.
	Message string `json:"message"`
}

// plannedFault is a fault that waits for its call.
type plannedFault struct {
	method      string
	skip, count int
	refusal     *refusal
	drop        bool
}

// callFaults are the planned faults of calls.
type callFaults struct {
	mu      sync.Mutex
	planned []*plannedFault
}

func (f *callFaults) add(p *plannedFault) {
	p.skip = max(p.skip-1, 0)
	p.count = max(p.count, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planned = append(f.planned, p)
}

// next says what becomes of the call that comes now.
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

// FailCall has calls refused without being applied.
func (f *callFaults) FailCall(failure CallFailure) error {
	if err := knownMethod(failure.Method); err != nil {
		return err
	}
	code, message := failure.Code, failure.Message
	if code == 0 {
		code = opennebula.CodeInternal
	}
	if message == "" {
		message = "This call was told to fail."
	}
	f.add(&plannedFault{
		method: failure.Method, skip: failure.Nth, count: failure.Count, refusal: refuse(code, message),
	})
	return nil
}

// DropAnswer has the nth call of a method from now on applied and its
// connection closed without an answer; 0 and 1 are the next call.
func (f *callFaults) DropAnswer(method string, nth int) error {
	if err := knownMethod(method); err != nil {
		return err
	}
	f.add(&plannedFault{method: method, skip: nth, count: 1, drop: true})
	return nil
}

// ClearFaults forgets every planned fault of calls.
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
