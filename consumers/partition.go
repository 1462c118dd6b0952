package consumers

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// partition hands its inputs to the service loops. What waits is bounded for each service, so that
// a command is not held up by what came before it for other services.
type partition struct {
	worker *Worker
	number int
	cursor cursor
	life   context.Context

	// mutex guards the conditions of the service loops.
	mutex   sync.Mutex
	loops   map[int]*serviceLoop  // by service
	resting list.List             // of *serviceLoop, the longest at rest first
	behind  map[*serviceLoop]bool // at rest, with documents that are behind
	// reminder fires when the first of these is to be written, at reminds; nil without one.
	reminder *time.Timer
	reminds  time.Time
	closed   bool
	wait     sync.WaitGroup
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
	p := &partition{
		worker: w, number: n, cursor: cursor{low: after, finished: map[uint64]bool{}}, life: life,
		loops: map[int]*serviceLoop{}, behind: map[*serviceLoop]bool{},
	}
	defer p.close(cancel, name)
	p.wait.Go(func() { p.tend(life, name, after) })
	return p.read(life, reader)
}

func (p *partition) read(ctx context.Context, reader *work.PartitionReader) error {
	for {
		input, err := reader.Next(ctx)
		if err != nil && !errors.Is(err, pipeline.ErrUnreadable) {
			return fmt.Errorf("read partition %d: %w", p.number, err)
		}
		p.cursor.started(input.Sequence)
		if err != nil {
			p.cursor.ended(input.Sequence)
			continue
		}
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

// tend stores the cursor whenever it has moved, and forgets the service loops that have rested for
// long. The partitions take turns: all cursors at once would hold up what else is to be stored.
func (p *partition) tend(ctx context.Context, name string, saved uint64) {
	pause := pipeline.SaveCursorEvery / pipeline.Partitions * time.Duration(p.number)
	for ; idle.For(ctx, pause) == nil; pause = pipeline.SaveCursorEvery {
		p.forgetIdle()
		if low := p.cursor.position(); low != saved {
			if err := p.worker.pipe.SaveCursor(ctx, name, low); err == nil {
				saved = low
			}
		}
	}
}

// close keeps the service loops that ask from working, waits for the others, and saves the cursor
// a last time: what is not saved is only read again.
func (p *partition) close(cancel context.CancelFunc, name string) {
	cancel()
	p.mutex.Lock()
	p.closed = true
	for _, l := range p.loops {
		if l.turn != nil && p.worker.scheduler.withdraw(l.turn) {
			p.stop(l)
		}
	}
	p.mutex.Unlock()
	p.wait.Wait()
	p.writeAll()
	for service := range p.loops {
		p.worker.health.note(service, "")
	}
	last, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	_ = p.worker.pipe.SaveCursor(last, name, p.cursor.position())
}

// cursor follows which inputs of a partition are finished although the service loops
// finish them out of order: it stands before the oldest unfinished one.
type cursor struct {
	mutex    sync.Mutex
	open     []uint64 // unfinished or finished but not yet passed, ascending
	finished map[uint64]bool
	low      uint64 // everything up to here is finished
}

// started notes an input that has been read.
func (c *cursor) started(sequence uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open = append(c.open, sequence)
}

// ended notes an input that is committed or needs no commit.
func (c *cursor) ended(sequence uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.finished[sequence] = true
	for len(c.open) > 0 && c.finished[c.open[0]] {
		c.low = c.open[0]
		delete(c.finished, c.open[0])
		c.open = c.open[1:]
	}
}

// position is the sequence up to which everything is finished.
func (c *cursor) position() uint64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.low
}

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

// remindAt has remind called then, or before; the caller holds the mutex.
func (p *partition) remindAt(due time.Time) {
	switch {
	case p.reminder == nil:
		p.reminder = time.AfterFunc(time.Until(due), p.remind)
	case due.Before(p.reminds):
		p.reminder.Reset(time.Until(due))
	default:
		return
	}
	p.reminds = due
}

// remind has the service loops write whose documents have been behind for long enough.
func (p *partition) remind() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.reminder = nil
	if p.closed {
		return
	}
	var next time.Time
	for l := range p.behind {
		switch due := l.saver.behind.due; {
		case l.saver.behind.isDue():
			delete(p.behind, l)
			l.inbox.write = true
			p.wait.Add(1)
			p.ask(l)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	if !next.IsZero() {
		p.remindAt(next)
	}
}

const (
	// lastWrites is for how long documents are written when a partition is given up, and
	// writesAtOnce how many at a time.
	lastWrites   = 3 * time.Second
	writesAtOnce = 8
)

// writeAll writes the documents that are behind when the partition is given up: OneFlow may
// be put back. A service that another worker has taken over meanwhile is left alone.
func (p *partition) writeAll() {
	ctx, cancel := context.WithTimeout(opennebula.Unhurried(context.Background()), lastWrites)
	defer cancel()
	var writes errgroup.Group
	writes.SetLimit(writesAtOnce)
	for _, l := range p.loops {
		decided := l.record.State.Service.Body.Digest()
		if committed := l.saver.stored == decided; !committed || !l.exists || decided == l.record.Saved {
			continue
		}
		writes.Go(func() error {
			l.saver.confirmed = time.Time{}
			if err := l.saver.saveDocument(ctx); err != nil {
				p.worker.config.Logger.Info("a document could not be written before its service was released; the next owner writes it",
					"service", l.service, "error", err)
			}
			return nil
		})
	}
	_ = writes.Wait()
}
