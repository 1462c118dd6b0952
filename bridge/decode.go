package bridge

import (
	"context"
	"runtime"
	"sync"
)

const (
	// decodeAtOnce is how many messages go to a decoder at a time: enough to make
	// handing over cheap, few enough to keep all decoders busy.
	decodeAtOnce = 64
	maxDecoders  = 8
)

// decodeQueue decodes what the queue holds and passes it on in the order in which it
// was heard. After ctx it finishes what is there. Half of the processors are left to
// JetStream, which takes longer for an event and would only have to catch up.
func decodeQueue(ctx context.Context, q *queue, t *translator, pass func(entries []entry, messages int)) {
	if decoders := min(runtime.GOMAXPROCS(0)/2, maxDecoders); decoders > 1 {
		decodeInParallel(ctx, q, t, decoders, pass)
		return
	}
	d := t.decoder()
	for items := q.next(ctx); len(items) > 0; items = q.next(ctx) {
		pass(d.decode(items), len(items))
	}
}

// job is some messages on their way through a decoder.
type job struct {
	items   []item
	entries []entry
	done    chan struct{}
}

func decodeInParallel(ctx context.Context, q *queue, t *translator, decoders int, pass func(entries []entry, messages int)) {
	todo, ordered := make(chan *job, decoders), make(chan *job, decoders)
	var group sync.WaitGroup
	for range decoders {
		group.Go(func() {
			d := t.decoder()
			for j := range todo {
				j.entries = d.decode(j.items)
				close(j.done)
			}
		})
	}
	group.Go(func() {
		for j := range ordered {
			<-j.done
			pass(j.entries, len(j.items))
		}
	})
	for items := q.next(ctx); len(items) > 0; items = q.next(ctx) {
		j := &job{items: items, done: make(chan struct{})}
		ordered <- j
		todo <- j
	}
	close(todo)
	close(ordered)
	group.Wait()
}

func (t *decoder) decode(items []item) []entry {
	entries := make([]entry, 0, len(items))
	for _, i := range items {
		if m := t.translated(i); m.passes {
			entries = append(entries, m.entry)
		}
	}
	return entries
}

// decodeEarly decodes a message before its turn. What is left takes a tenth of the room.
func (t *decoder) decodeEarly(i item) item {
	m := t.translated(i)
	return item{heard: i.heard, translation: &m}
}

func (t *decoder) translated(i item) translation {
	if i.translation != nil {
		return *i.translation
	}
	e, passes := t.translate(i)
	i.slab.release()
	return translation{e, passes}
}
