package consumers

import (
	"container/list"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// saveCursorEvery bounds how much is read again after a crash.
	saveCursorEvery = 250 * time.Millisecond
	// maxResting is how many services of a partition are remembered while
	// nothing happens to them, about 15 KB each with ten VMs.
	maxResting = 512
)

// partition hands the inputs of one partition to the lanes of its services. What
// waits is bounded for each service, so that the reader hardly ever waits, and a
// command is not held up by what came before it for other services.
type partition struct {
	worker *Worker
	number int
	cursor *cursor
	life   context.Context

	mutex   sync.Mutex
	lanes   map[int]*lane // by service
	resting list.List     // of *lane, the longest at rest first
	closed  bool
	wait    sync.WaitGroup
}

// runPartition reads a partition from its saved cursor on until ctx ends.
func (w *Worker) runPartition(ctx context.Context, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("partition %q is not a number: %w", number, err)
	}
	name := pipeline.PartitionKeyPrefix + number
	after, err := w.pipe.LoadCursor(ctx, name)
	if err != nil {
		return fmt.Errorf("load the cursor of partition %d: %w", n, err)
	}
	reader, err := w.pipe.ReadPartition(ctx, n, after)
	if err != nil {
		return fmt.Errorf("read partition %d after %d: %w", n, after, err)
	}
	defer reader.Stop()
	life, cancel := context.WithCancel(ctx)
	p := &partition{worker: w, number: n, cursor: newCursor(after), life: life, lanes: map[int]*lane{}}
	defer p.close(cancel, name)
	p.wait.Go(func() { p.tend(life, name, after) })
	return p.read(life, reader)
}

func (p *partition) read(ctx context.Context, reader *pipeline.PartitionReader) error {
	for {
		input, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("read partition %d: %w", p.number, err)
		}
		p.cursor.started(input.Sequence)
		p.worker.metrics.inputs.Inc()
		for room := p.put(input); room != nil; room = p.put(input) {
			select {
			case <-room:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

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
		if l.turn != nil {
			p.worker.turns.hasten(l.turn)
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
	l.turn = &ticket{urgent: l.urgent, grant: func() { go l.run(p.life) }}
	p.worker.turns.submit(l.turn)
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

// waiting says that something waits for the lane.
func (p *partition) waiting(l *lane) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(l.inbox.waiting) > 0
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

// tend stores the cursor whenever it has moved, and forgets the lanes that have
// rested for long. The partitions take turns: their cursors all at once would hold
// up what else is to be put on the disk.
func (p *partition) tend(ctx context.Context, name string, saved uint64) {
	if idle.For(ctx, saveCursorEvery/pipeline.Partitions*time.Duration(p.number)) != nil {
		return
	}
	ticker := time.NewTicker(saveCursorEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		p.forgetIdle()
		if low := p.cursor.position(); low != saved {
			if err := p.worker.pipe.SaveCursor(ctx, name, low); err == nil {
				saved = low
			}
		}
	}
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

// close waits for the lanes and saves the cursor a last time: what is not saved
// is only read again.
func (p *partition) close(cancel context.CancelFunc, name string) {
	cancel()
	p.mutex.Lock()
	p.closed = true
	for _, l := range p.lanes {
		if l.turn != nil && p.worker.turns.withdraw(l.turn) {
			p.stop(l)
		}
	}
	p.mutex.Unlock()
	p.wait.Wait()
	for service := range p.lanes {
		p.worker.health.forget(p.worker.config.Logger, service)
	}
	last, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	_ = p.worker.pipe.SaveCursor(last, name, p.cursor.position())
}
