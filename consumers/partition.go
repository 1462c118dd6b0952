package consumers

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
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

	// mutex guards what loops.go does, in the service loops too.
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
