package consumers

import (
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// A partition's lane is in one of four conditions:
//
//	asks    its ticket waits among the worker's turns; inputs wait for it
//	works   its ticket was granted: run, in a goroutine of its own, handles inputs
//	rests   nothing waits; what it knows of its service is kept for a while
//	gone    forgotten: the next input makes a new one
//
// put has a lane that rests, or is gone, ask. A lane that works takes its inputs one
// by one until none waits and it comes to rest, or its turn is over and it asks
// again. All of it happens under the partition's mutex.

// maxResting is how many services of a partition are remembered while nothing
// happens to them, about 15 KB each with ten VMs.
const maxResting = 512

// put gives an input to its service's lane and has the lane work. Where there is
// no room, it returns what closes when there may be.
func (p *partition) put(input pipeline.Input) (room <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l := p.lane(input.Work.Service)
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
		for _, asked := range []*ticket{l.turn, l.back} {
			if asked != nil {
				p.worker.turns.hasten(asked)
			}
		}
	}
	if l.turn == nil {
		p.wait.Add(1)
		p.ask(l)
	}
	return nil
}

// lane is the service's lane.
func (p *partition) lane(service int) *lane {
	l, known := p.lanes[service]
	if !known {
		l = newLane(p.worker, p, service)
		p.lanes[service] = l
	}
	if l.rests != nil {
		p.resting.Remove(l.rests)
		l.rests = nil
	}
	return l
}

// ask asks for a turn of the lane; the caller holds the mutex.
func (p *partition) ask(l *lane) {
	l.turn, l.back = &ticket{rank: l.rank(ordinary), grant: func() { go l.run(p.life) }}, nil
	p.worker.turns.submit(l.turn)
}

// rank is how a lane asks for a place, which it would ask for by itself as a lower
// one; the caller holds the mutex.
func (l *lane) rank(otherwise rank) rank {
	if l.urgent {
		return urgent
	}
	return otherwise
}

// askAgain asks for a place for a lane that has given its own away.
func (p *partition) askAgain(l *lane, request *ticket) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	request.rank = l.rank(request.rank)
	l.back = request
	p.worker.turns.submit(request)
}

// take removes the next input of a lane. Without one the lane comes to rest.
func (p *partition) take(l *lane) (delivery, bool) {
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

// rest keeps what a lane knows for a while; the caller holds the mutex.
func (p *partition) rest(l *lane) {
	l.turn, l.urgent, l.since = nil, false, time.Now()
	l.rests = p.resting.PushBack(l)
	if p.resting.Len() > maxResting {
		p.forgetOldest()
	}
	p.wait.Done()
}

// forgetOldest drops the lane that has rested longest.
func (p *partition) forgetOldest() {
	oldest := p.resting.Remove(p.resting.Front()).(*lane)
	delete(p.lanes, oldest.service)
	p.worker.health.forget(p.worker.config.Logger, oldest.service)
}

// again asks for the next turn of a lane that has had one, if anything waits.
func (p *partition) again(l *lane) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case p.closed:
		p.stop(l)
	case len(l.inbox.waiting) == 0:
		p.rest(l)
	default:
		p.ask(l)
	}
}

// end stops a lane whose partition is given up.
func (p *partition) end(l *lane) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.stop(l)
}

// stop is called with the mutex held.
func (p *partition) stop(l *lane) {
	l.turn = nil
	p.wait.Done()
}

// waiting reports whether something waits for the lane.
func (p *partition) waiting(l *lane) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(l.inbox.waiting) > 0
}

// commandWaits reports whether a command waits for the lane.
func (p *partition) commandWaits(l *lane) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.inbox.hasCommand()
}

// awaited says of which VMs events wait for the lane, and the sequence of the
// last of them.
func (p *partition) awaited(l *lane) (last uint64, vms []int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.inbox.vms()
}

func (p *partition) isUrgent(l *lane) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return l.urgent
}

// answered ends the lane's precedence, unless another command waits for it: what
// a command leads to may take long, and nobody waits for that.
func (p *partition) answered(l *lane) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	l.urgent = l.inbox.hasCommand()
}

func (p *partition) forgetIdle() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for oldest := p.resting.Front(); oldest != nil; oldest = p.resting.Front() {
		if time.Since(oldest.Value.(*lane).since) < p.worker.config.LaneIdle {
			return
		}
		p.forgetOldest()
	}
}

// closeLanes keeps the lanes that ask from working; those that work find out by
// themselves.
func (p *partition) closeLanes() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.closed = true
	for _, l := range p.lanes {
		if l.turn != nil && p.worker.turns.withdraw(l.turn) {
			p.stop(l)
		}
	}
}
