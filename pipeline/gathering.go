package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// staleAfter is how long messages may wait to be stored. Whoever has been
// suspended meanwhile may have been overtaken; a server that is only slow does
// not take as long.
const staleAfter = 5 * time.Second

// errStale says that a message was not stored because it had waited too long.
var errStale = errors.New("it had waited too long to be stored: whether it still holds has to be made sure of again")

// gathering stores in one batch what several callers want stored in a stream at
// the same time: on a stream of one replica each message by itself is an fsync.
// While one batch is on its way the next one gathers, and a caller who is alone
// waits for nobody. Each caller's messages are stored in their order.
type gathering struct {
	pipeline *Pipeline
	stream   string

	mutex   sync.Mutex
	waiting []*parcel // bounded by the callers, who wait
	running bool
	closed  bool
	wait    sync.WaitGroup
}

// parcel is what one caller wants stored.
type parcel struct {
	messages  []*nats.Msg
	since     time.Time
	abandoned <-chan struct{}
	stored    chan error
}

// store returns when the messages are stored. On an error a first part of them
// may be stored; after ctx's, also all.
func (g *gathering) store(ctx context.Context, messages ...*nats.Msg) error {
	if len(messages) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	for _, message := range messages {
		carryTrace(ctx, message)
	}
	own := &parcel{messages: messages, since: time.Now(), abandoned: ctx.Done(), stored: make(chan error, 1)}
	g.add(own)
	select {
	case err := <-own.stored:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gathering) add(own *parcel) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.closed {
		own.stored <- ErrClosed
		return
	}
	g.waiting = append(g.waiting, own)
	if !g.running {
		g.running = true
		g.wait.Go(g.run)
	}
}

// close waits for what is under way; the pipeline's life has ended.
func (g *gathering) close() {
	g.mutex.Lock()
	g.closed = true
	g.mutex.Unlock()
	g.wait.Wait()
}

// run stores what waits until nothing does.
func (g *gathering) run() {
	for parcels := g.take(); parcels != nil; parcels = g.take() {
		g.dispatch(current(parcels))
	}
}

// take removes what fits into one batch; nil says that nothing waits.
func (g *gathering) take() []*parcel {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	count, size := 0, 0
	for count < len(g.waiting) {
		if size += len(g.waiting[count].messages); count > 0 && size > maxBatch {
			break
		}
		count++
	}
	taken := g.waiting[:count:count]
	if g.waiting = g.waiting[count:]; count == 0 {
		g.running, g.waiting, taken = false, nil, nil
	}
	return taken
}

// current leaves out what nobody waits for any more, and what has waited too
// long: the process may have been suspended.
func current(parcels []*parcel) []*parcel {
	var kept []*parcel
	for _, one := range parcels {
		select {
		case <-one.abandoned:
			continue
		default:
		}
		if time.Since(one.since) > staleAfter {
			one.stored <- errStale
			continue
		}
		kept = append(kept, one)
	}
	return kept
}

// dispatch stores the parcels and tells their callers.
func (g *gathering) dispatch(parcels []*parcel) {
	var all []*nats.Msg
	for _, one := range parcels {
		all = append(all, one.messages...)
	}
	replicated := g.pipeline.replicated(g.stream)
	if len(parcels) == 1 || chunk(all, replicated) < 2 {
		g.dispatchEach(parcels, replicated)
		return
	}
	err := g.pipeline.publishOrdered(g.pipeline.life, all, replicated)
	if err != nil && !transient(err) && g.pipeline.life.Err() == nil {
		g.dispatchEach(parcels, replicated) // one caller's bad message is not the others' trouble
		return
	}
	for _, one := range parcels {
		one.stored <- err
	}
}

func (g *gathering) dispatchEach(parcels []*parcel, replicated bool) {
	for _, one := range parcels {
		for _, message := range one.messages {
			alone(message)
		}
		one.stored <- g.pipeline.publishOrdered(g.pipeline.life, one.messages, replicated)
	}
}
