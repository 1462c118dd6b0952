package natstest

import (
	"fmt"
	"strings"
	"sync"
)

// faults keeps what a server reports of why it does not start, which it tells its
// logger alone.
type faults struct {
	mu    sync.Mutex
	lines []string
}

func (*faults) Noticef(string, ...any) {}
func (*faults) Warnf(string, ...any)   {}
func (*faults) Debugf(string, ...any)  {}
func (*faults) Tracef(string, ...any)  {}

func (f *faults) Errorf(format string, values ...any) { f.keep(format, values) }
func (f *faults) Fatalf(format string, values ...any) { f.keep(format, values) }

func (f *faults) keep(format string, values []any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lines) < 10 {
		f.lines = append(f.lines, fmt.Sprintf(format, values...))
	}
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "; ")
}
