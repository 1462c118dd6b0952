package consumers

import (
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// A partition's service loop is in one of four conditions:
//
//	asks    its ticket waits among the worker's turns; inputs wait for it
//	works   its ticket was granted: run, in a goroutine of its own, handles inputs
//	rests   nothing waits; what it knows of its service is kept for a while
//	gone    forgotten: the next input makes a new one
//
// put has a service loop that rests, or is gone, ask. A service loop that works takes its inputs one
// by one until none waits and it comes to rest, or its turn is over and it asks
// again. All of it happens under the partition's mutex.

// maxResting is how many services of a partition are remembered while nothing
// happens to them, about 15 KB each with ten VMs.
const maxResting = 512

// put gives an input to its service's loop and has the service loop work. Where there is
// no room, it returns what closes when there may be.
func (p *partition) put(input pipeline.Input) (room <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l := p.loop(input.Work.Service)
	if !l.inbox.put(input) {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		return l.room
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	if input.Work.Command != nil && !l.urgent {
		l.urgent = true
		for _, asked := range []*slotRequest{l.turn, l.back} {
			if asked != nil {
				p.worker.scheduler.boost(asked)
			}
		}
	}
	if l.turn == nil {
		p.wait.Add(1)
		p.ask(l)
	}
	return nil
}

// loop is the service's loop.
func (p *partition) loop(service int) *serviceLoop {
	l, known := p.loops[service]
	if !known {
		l = newServiceLoop(p.worker, p, service)
		p.loops[service] = l
	}
	if l.rests != nil {
		p.resting.Remove(l.rests)
		l.rests = nil
	}
	delete(p.behind, l)
	return l
}

// ask asks for a turn of the service loop; the caller holds the mutex.
func (p *partition) ask(l *serviceLoop) {
	l.turn, l.back = &slotRequest{priority: l.priority(ordinary), grant: func() { go l.run(p.life) }}, nil
	p.worker.scheduler.submit(l.turn)
}

// priority is how a service loop asks for a slot, which it would ask for by itself as a lower
// one; the caller holds the mutex.
func (l *serviceLoop) priority(otherwise priority) priority {
	if l.urgent {
		return urgent
	}
	return otherwise
}

// askAgain asks for a slot for a service loop that has given its own away.
func (p *partition) askAgain(l *serviceLoop, request *slotRequest) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	request.priority = l.priority(request.priority)
	l.back = request
	p.worker.scheduler.submit(request)
}

// take removes the next input of a service loop. Without one the service loop comes to rest.
func (p *partition) take(l *serviceLoop) (delivery, bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	next, waits := l.inbox.take()
	if !waits {
		p.rest(l)
	}
	return next, waits
}

// rest keeps what a service loop knows for a while, and at least until its document is
// written; the caller holds the mutex.
func (p *partition) rest(l *serviceLoop) {
	defer p.wait.Done()
	l.turn, l.urgent, l.since = nil, false, time.Now()
	if l.saver.behind.is() {
		p.restBehind(l)
		return
	}
	l.rests = p.resting.PushBack(l)
	if p.resting.Len() > maxResting {
		p.forgetOldest()
	}
}

// forgetOldest drops the service loop that has rested longest.
func (p *partition) forgetOldest() {
	oldest := p.resting.Remove(p.resting.Front()).(*serviceLoop)
	delete(p.loops, oldest.service)
	p.worker.health.forget(p.worker.config.Logger, oldest.service)
}

// again asks for the next turn of a service loop that has had one, if anything waits.
func (p *partition) again(l *serviceLoop) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case p.closed:
		p.stop(l)
	case len(l.inbox.waiting) == 0 && !l.inbox.write:
		p.rest(l)
	default:
		p.ask(l)
	}
}

// end stops a service loop whose partition is given up.
func (p *partition) end(l *serviceLoop) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.stop(l)
}

// stop is called with the mutex held.
func (p *partition) stop(l *serviceLoop) {
	l.turn = nil
	p.wait.Done()
}

// waiting reports whether something waits for the service loop.
func (p *partition) waiting(l *serviceLoop) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(l.inbox.waiting) > 0
}

// commandWaits reports whether a command waits for the service loop.
func (p *partition) commandWaits(l *serviceLoop) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.inbox.hasCommand()
}

// awaited returns the VMs of which news waits for the service loop.
func (p *partition) awaited(l *serviceLoop) map[int]waitingNews {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.inbox.vms()
}

func (p *partition) isUrgent(l *serviceLoop) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.urgent
}

// answered ends the service loop's precedence, unless another command waits for it: what
// a command leads to may take long, and nobody waits for that.
func (p *partition) answered(l *serviceLoop) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l.urgent = l.inbox.hasCommand()
}

func (p *partition) forgetIdle() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for oldest := p.resting.Front(); oldest != nil; oldest = p.resting.Front() {
		if time.Since(oldest.Value.(*serviceLoop).since) < p.worker.config.LoopIdle {
			return
		}
		p.forgetOldest()
	}
}

// closeLoops keeps the service loops that ask from working; those that work find out by
// themselves.
func (p *partition) closeLoops() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.closed = true
	for _, l := range p.loops {
		if l.turn != nil && p.worker.scheduler.withdraw(l.turn) {
			p.stop(l)
		}
	}
}
