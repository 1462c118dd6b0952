package consumers

import (
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// A partition's service loop is in one of four conditions:
//
//	asks    its request waits at the worker's scheduler; inputs wait for it
//	works   its request was granted: run, in a goroutine of its own, handles inputs
//	rests   nothing waits; what it knows of its service is kept for a while
//	gone    forgotten: the next input makes a new one
//
// put has a service loop that rests, or is gone, ask. One that works takes its inputs one by one
// until it comes to rest, or asks for another turn. All happens under the partition's mutex.

const (
	// maxResting is how many services of a partition are remembered while nothing happens to them,
	// about 15 KB each with ten VMs, and loopIdle for how long.
	maxResting = 512
	loopIdle   = 5 * time.Minute
)

// put gives an input to its service's loop and has the service loop work. Where there is
// no room, it returns what closes when there may be.
func (p *partition) put(input pipeline.Input) (room <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	service := input.Work.Service
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
	if input.Work.Command != nil && !l.urgent.Swap(true) {
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

// ask asks for a turn of the service loop; the caller holds the mutex.
func (p *partition) ask(l *serviceLoop) {
	l.turn, l.back = &slotRequest{grant: func() { go l.run(p.life) }}, nil
	if l.urgent.Load() {
		l.turn.priority = urgent
	}
	p.worker.scheduler.submit(l.turn)
}

// askAgain asks for a slot for a service loop that has given its own away.
func (p *partition) askAgain(l *serviceLoop, request *slotRequest) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if l.urgent.Load() {
		request.priority = urgent
	}
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

// again asks for the next turn of a service loop that has had one, if anything waits and the
// partition is not given up.
func (p *partition) again(l *serviceLoop) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case p.closed || p.life.Err() != nil:
		p.stop(l)
	case len(l.inbox.waiting) == 0 && !l.inbox.write:
		p.rest(l)
	default:
		p.ask(l)
	}
}

// rest keeps what a service loop knows for a while, and at least until its document is
// written; the caller holds the mutex.
func (p *partition) rest(l *serviceLoop) {
	defer p.stop(l)
	l.urgent.Store(false)
	l.since = time.Now()
	if due := l.saver.behind.due; !due.IsZero() {
		p.behind[l] = true
		p.remindAt(due)
		return
	}
	l.rests = p.resting.PushBack(l)
	if p.resting.Len() > maxResting {
		p.forgetOldest()
	}
}

// stop ends a service loop's turn; the caller holds the mutex.
func (p *partition) stop(l *serviceLoop) {
	l.turn = nil
	p.wait.Done()
}

// forgetOldest drops the service loop that has rested longest.
func (p *partition) forgetOldest() {
	oldest := p.resting.Remove(p.resting.Front()).(*serviceLoop)
	delete(p.loops, oldest.service)
	p.worker.health.note(oldest.service, "")
}

// forgetIdle drops the service loops that have rested for long.
func (p *partition) forgetIdle() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for oldest := p.resting.Front(); oldest != nil; oldest = p.resting.Front() {
		if time.Since(oldest.Value.(*serviceLoop).since) < loopIdle {
			return
		}
		p.forgetOldest()
	}
}

// waiting reports whether something waits for the service loop.
func (l *serviceLoop) waiting() bool {
	l.partition.mutex.Lock()
	defer l.partition.mutex.Unlock()
	return len(l.inbox.waiting) > 0
}

// commandWaits reports whether a command waits for the service loop.
func (l *serviceLoop) commandWaits() bool {
	l.partition.mutex.Lock()
	defer l.partition.mutex.Unlock()
	return l.inbox.hasCommand()
}

// awaited returns the VMs of which news waits for the service loop.
func (l *serviceLoop) awaited() map[int]waitingNews {
	l.partition.mutex.Lock()
	defer l.partition.mutex.Unlock()
	return l.inbox.vms()
}
