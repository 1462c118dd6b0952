package opennebula

import (
	"sync"
	"time"
)

// pulse is whether oned answers, as far as calls have found out.
type pulse struct {
	mutex   sync.Mutex
	waiting int
	// since is when the silence began: with the first call that has no answer
	// yet, or got none. Zero is no silence.
	since time.Time
}

func (p *pulse) begin() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.waiting++
	if p.since.IsZero() {
		p.since = time.Now()
	}
}

// end takes a call's end into account. A refusal is an answer too.
func (p *pulse) end(answered bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.waiting--
	switch {
	case !answered:
	case p.waiting == 0:
		p.since = time.Time{}
	default:
		p.since = time.Now()
	}
}
