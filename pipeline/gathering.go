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

// errStale is returned when a message was not stored because it had waited too long.
var errStale = errors.New("it had waited too long to be stored: whether it still holds has to be made sure of again")

// gathering stores in one batch what several callers want stored in a stream at
// the same time: on a stream of one replica each message by itself is an fsync.
// While one batch is on its way the next one gathers, and a caller who is alone
// waits for nobody. Each caller's messages are stored in their order.
type gathering struct {
	// dispatch stores parcels and tells each caller the outcome.
	dispatch func([]*parcel)

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
	stored    chan outcome
}

// outcome is what became of a parcel. sequence is that of a record that was stored.
type outcome struct {
	sequence uint64
	err      error
}

func (p *parcel) tell(sequence uint64, err error) { p.stored <- outcome{sequence, err} }

// store returns when the messages are stored. On an error a first part of them
// may be stored; after ctx's, also all.
func (g *gathering) store(ctx context.Context, messages ...*nats.Msg) (sequence uint64, err error) {
	if len(messages) == 0 || ctx.Err() != nil {
		return 0, ctx.Err()
	}
	for _, message := range messages {
		carryTrace(ctx, message)
	}
	own := &parcel{messages: messages, since: time.Now(), abandoned: ctx.Done(), stored: make(chan outcome, 1)}
	g.add(own)
	select {
	case stored := <-own.stored:
		return stored.sequence, stored.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (g *gathering) add(own *parcel) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.closed {
		own.tell(0, ErrClosed)
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

// take removes what fits into one batch; nil if nothing waits.
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
			one.tell(0, errStale)
			continue
		}
		kept = append(kept, one)
	}
	return kept
}

// dispatchInOrder stores parcels in a stream, each in its order.
func (p *Pipeline) dispatchInOrder(stream string, parcels []*parcel) {
	all := messagesOf(parcels)
	replicated := p.replicated(stream)
	if len(parcels) < 2 || chunk(all, replicated) < 2 {
		p.dispatchEach(parcels, replicated)
		return
	}
	err := p.publishOrdered(p.life, all, replicated)
	if err != nil && !transient(err) && p.life.Err() == nil {
		p.dispatchEach(parcels, replicated) // one caller's bad message is not the others' trouble
		return
	}
	for _, one := range parcels {
		one.tell(0, err)
	}
}

func (p *Pipeline) dispatchEach(parcels []*parcel, replicated bool) {
	for _, one := range parcels {
		for _, message := range one.messages {
			alone(message)
		}
		one.tell(0, p.publishOrdered(p.life, one.messages, replicated))
	}
}

func messagesOf(parcels []*parcel) (all []*nats.Msg) {
	for _, one := range parcels {
		all = append(all, one.messages...)
	}
	return all
}

// dispatchRecords stores records, a parcel each, and tells their sequences. They are
// of different services: their order does not matter.
func (p *Pipeline) dispatchRecords(parcels []*parcel) {
	for len(parcels) > 0 {
		count, store := chunk(messagesOf(parcels), false), p.batchRecords
		if count == 1 {
			count, store = min(len(parcels), worthBatching), p.storeRecords
		}
		store(parcels[:count])
		parcels = parcels[count:]
	}
}

// batchRecords stores records as one batch. Its messages follow each other in the
// stream, so that the last one's sequence tells all. A batch is refused as a whole: then
// each record is stored by itself, and who is told of a conflict finds out whether it is
// one or what was stored at a first attempt.
func (p *Pipeline) batchRecords(parcels []*parcel) {
	last, err := p.publishBatch(p.life, messagesOf(parcels))
	if err != nil && !transient(err) && p.life.Err() == nil {
		p.storeRecords(parcels)
		return
	}
	for i, one := range parcels {
		one.tell(last-uint64(len(parcels)-1-i), err) //nolint:gosec // as many are stored
	}
}

// storeRecords stores each record by itself, all at the same time.
func (p *Pipeline) storeRecords(parcels []*parcel) {
	var all sync.WaitGroup
	for _, one := range parcels {
		all.Go(func() { one.tell(p.publish(p.life, alone(one.messages[0]))) })
	}
	all.Wait()
}
