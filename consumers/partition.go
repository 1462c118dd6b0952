package consumers

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// saveCursorEvery bounds how much is read again after a crash.
const saveCursorEvery = time.Second

// partition hands the inputs of one partition to the lanes of its services.
type partition struct {
	worker *Worker
	number int
	cursor *cursor

	mutex sync.Mutex
	lanes map[int]*lane // by service
	wait  sync.WaitGroup
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
	p := &partition{worker: w, number: n, cursor: newCursor(after), lanes: map[int]*lane{}}
	life, cancel := context.WithCancel(ctx)
	defer p.close(cancel, name)
	p.wait.Go(func() { p.saveCursor(life, name, after) })
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
		if err := p.lane(ctx, input.Work.Service).push(ctx, input); err != nil {
			return err
		}
	}
}

// lane finds the service's lane, or starts one.
func (p *partition) lane(ctx context.Context, service int) *lane {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if running, ok := p.lanes[service]; ok {
		running.claimed++
		return running
	}
	started := newLane(p.worker, p, service)
	started.claimed++
	p.lanes[service] = started
	p.wait.Go(func() { started.run(ctx) })
	return started
}

// retire forgets an idle lane, unless an input is on its way to it.
func (p *partition) retire(idle *lane) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if idle.claimed > 0 || len(idle.queue) > 0 {
		return false
	}
	delete(p.lanes, idle.service)
	return true
}

// saveCursor stores the cursor whenever it has moved.
func (p *partition) saveCursor(ctx context.Context, name string, saved uint64) {
	ticker := time.NewTicker(saveCursorEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if low := p.cursor.position(); low != saved {
			if err := p.worker.pipe.SaveCursor(ctx, name, low); err == nil {
				saved = low
			}
		}
	}
}

// close waits for the lanes and saves the cursor a last time: what is not saved
// is only read again.
func (p *partition) close(cancel context.CancelFunc, name string) {
	cancel()
	p.wait.Wait()
	last, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	_ = p.worker.pipe.SaveCursor(last, name, p.cursor.position())
}
