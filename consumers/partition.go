package consumers

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// partition hands its inputs to the service loops. The queue of each service is bounded, so that a command is not delayed by earlier inputs
// for other services.
//
// A service loop is in one of four conditions:
//
//	asks    its request waits at the worker's scheduler; inputs wait for it
//	works   its request was granted: run, in a goroutine of its own, handles inputs
//	rests   nothing waits; what it knows of its service is kept for a while
//	gone    forgotten: the next input makes a new one
//
// put requests a slot for a service loop that rests, or is gone. A working loop handles its inputs one by one until it comes to rest, or
// requests another slot. All this happens under the partition's mutex, which ask, rest, stop and forget expect to be held.
type partition struct {
	worker *Worker
	number int
	life   context.Context

	mutex   sync.Mutex           // guards the conditions of the service loops, too
	loops   map[int]*serviceLoop // by service
	resting list.List            // of idle *serviceLoop with written documents, the longest idle first
	closed  bool
	wait    sync.WaitGroup
	// The service loops finish inputs out of order. All inputs up to the cursor are finished, open are those read since, ascending, and
	// finished those of them that wait for an earlier one.
	cursor   uint64
	open     []uint64
	finished map[uint64]bool
}

const (
	// maxResting is how many idle services of a partition are kept in memory, 15 KB each, loopIdle is for how long, and endedIdle for those
	// that have ended: for their last events.
	maxResting = 512
	loopIdle   = 5 * time.Minute
	endedIdle  = 10 * time.Second
)

// runPartition reads a partition from its saved cursor on until ctx ends.
func (w *Worker) runPartition(ctx context.Context, number int) error {
	name := pipeline.PartitionKey(number)
	after, err := w.pipe.LoadCursor(ctx, name)
	if err != nil {
		return err
	}
	reader, err := w.pipe.ReadPartition(ctx, number, after)
	if err != nil {
		return err
	}
	defer reader.Stop()
	life, cancel := context.WithCancel(ctx)
	p := &partition{
		worker: w, number: number, cursor: after, finished: map[uint64]bool{}, life: life,
		loops: map[int]*serviceLoop{},
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
		p.mutex.Lock()
		p.open = append(p.open, input.Sequence)
		p.mutex.Unlock()
		if err != nil {
			p.end(input.Sequence)
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

// tend stores the cursor whenever it has moved, drops the service loops that have been idle for long, and lets idle ones write whose
// documents have been behind for long enough: they do not wait for a cursor, whose stream may be without a leader for seconds. The
// partitions do this one after the other: all cursors at once would delay other writes. A cursor that does not move is read from time to
// time: a NATS server that was suspended carries out old requests late, which may store an older cursor.
func (p *partition) tend(ctx context.Context, name string, saved uint64) {
	var save errgroup.Group
	checked := time.Now()
	save.SetLimit(1)
	defer save.Wait() //nolint:errcheck // there is none
	pause := pipeline.SaveCursorEvery / pipeline.Partitions * time.Duration(p.number)
	for ; idle.For(ctx, pause) == nil; pause = pipeline.SaveCursorEvery {
		p.mutex.Lock()
		for _, l := range p.loops {
			switch {
			case l.rests != nil && time.Since(l.since) >= l.keptFor:
				p.forget(l)
			case l.slotRequest == nil && l.rests == nil && l.saver.behind.isDue() && !p.closed:
				l.inbox.write = true
				p.wait.Add(1)
				p.ask(l)
			}
		}
		cursor := p.cursor
		p.mutex.Unlock()
		save.TryGo(func() error {
			if cursor == saved && time.Since(checked) >= p.worker.config.Settings.CheckInterval {
				checked = time.Now()
				// A later cursor is another worker's, which has had the partition since this one was suspended.
				if stored, err := p.worker.pipe.LoadCursor(ctx, name); err == nil && stored < saved {
					saved = stored
				}
			}
			if cursor != saved && p.worker.pipe.SaveCursor(ctx, name, cursor) == nil {
				saved = cursor
			}
			return nil
		})
	}
}

// close withdraws the requests of waiting service loops, waits for the others, and saves the cursor a last time: inputs after it are read
// again.
func (p *partition) close(cancel context.CancelFunc, name string) {
	cancel()
	p.mutex.Lock()
	p.closed = true
	for _, l := range p.loops {
		if l.slotRequest != nil && p.worker.scheduler.withdraw(l.slotRequest) {
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
	_ = p.worker.pipe.SaveCursor(last, name, p.cursor)
}

// end lets the cursor pass inputs that are committed or need no commit.
func (p *partition) end(sequences ...uint64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, sequence := range sequences {
		p.finished[sequence] = true
	}
	for len(p.open) > 0 && p.finished[p.open[0]] {
		p.cursor = p.open[0]
		delete(p.finished, p.cursor)
		p.open = p.open[1:]
	}
}

// put gives an input to its service's loop and requests a slot for it. If the inbox is full, it returns a channel that closes when there
// may be room.
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
		for _, asked := range []*slotRequest{l.slotRequest, l.back} {
			if asked != nil {
				p.worker.scheduler.boost(asked)
			}
		}
	}
	if l.slotRequest == nil {
		p.wait.Add(1)
		p.ask(l)
	}
	return nil
}

// ask requests a slot for the service loop.
func (p *partition) ask(l *serviceLoop) {
	l.slotRequest, l.back = &slotRequest{grant: func() { go l.run(p.life) }}, nil
	if l.urgent.Load() {
		l.slotRequest.priority = urgent
	}
	p.worker.scheduler.submit(l.slotRequest)
}

// askAgain requests a slot for a service loop that has given its own away.
func (p *partition) askAgain(q *queue, request *slotRequest) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if q.urgent.Load() {
		request.priority = urgent
	}
	q.back = request
	p.worker.scheduler.submit(request)
}

// next removes the next input of a service loop. Without one the service loop becomes idle.
func (p *partition) next(l *serviceLoop) (delivery, bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	next, waits := l.inbox.pop()
	if !waits {
		p.rest(l)
	}
	return next, waits
}

// again requests another slot for a service loop, if anything waits and the partition is not given up.
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

// rest keeps what a service loop knows for a while, and at least until its document is written.
func (p *partition) rest(l *serviceLoop) {
	defer p.stop(l)
	l.urgent.Store(false)
	l.since = time.Now()
	l.saver.text.text = nil
	if !l.saver.behind.due.IsZero() {
		return
	}
	if l.keptFor = loopIdle; l.record.Deleted {
		l.keptFor = endedIdle
	}
	if l.rests = p.resting.PushBack(l); p.resting.Len() > maxResting {
		p.forget(p.resting.Front().Value.(*serviceLoop))
	}
}

// stop ends a service loop's use of a slot.
func (p *partition) stop(l *serviceLoop) {
	l.slotRequest = nil
	p.wait.Done()
}

// forget drops an idle service loop.
func (p *partition) forget(l *serviceLoop) {
	p.resting.Remove(l.rests)
	delete(p.loops, l.service)
	p.worker.health.note(l.service, "")
}

// queue has a service loop's waiting inputs, and its request for a slot. The partition's mutex guards them.
type queue struct {
	partition *partition
	// wake gets a signal with each input, for a loop that waits briefly for one.
	wake        chan struct{}
	inbox       inbox
	slotRequest *slotRequest  // waits or is granted; nil while the service loop rests
	back        *slotRequest  // from the working service loop, for a slot that it has given away
	room        chan struct{} // closed when a full inbox has room again
	rests       *list.Element // among the service loops that rest
	since       time.Time     // when it came to rest
	keptFor     time.Duration // how long from then on
	// urgent is whether a client waits for an answer. It changes under the mutex.
	urgent atomic.Bool
}

func (q *queue) waiting() bool {
	q.partition.mutex.Lock()
	defer q.partition.mutex.Unlock()
	return len(q.inbox.waiting) > 0
}

func (q *queue) commandWaits() bool {
	q.partition.mutex.Lock()
	defer q.partition.mutex.Unlock()
	return q.inbox.hasCommand()
}

// awaited returns the VMs of which news waits for the service loop, and whether it has the VM's state.
func (q *queue) awaited() map[int]bool {
	q.partition.mutex.Lock()
	defer q.partition.mutex.Unlock()
	return q.inbox.vms()
}

const (
	// lastWrites limits how long documents are written when a partition is given up, and writesAtOnce how many at a time.
	lastWrites   = 3 * time.Second
	writesAtOnce = 8
)

// writeAll writes the documents that are behind when the partition is given up, since OneFlow may be put back. It leaves services that
// others have taken over alone.
func (p *partition) writeAll() {
	ctx, cancel := context.WithTimeout(opennebula.Unhurried(context.Background()), lastWrites)
	defer cancel()
	var writes errgroup.Group
	writes.SetLimit(writesAtOnce)
	for _, l := range p.loops {
		decided := l.saver.digest()
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
