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

// job is some messages on their way through a decoder.
type job struct {
	items   []item
	entries []entry
	done    chan struct{}
}

// decode understands what the queue holds, on several processors, and passes it
// on in the order in which it was heard. After ctx it finishes what is there.
func decode(ctx context.Context, q *queue, t *translator, pass func(entries []entry, messages int)) {
	decoders := min(runtime.GOMAXPROCS(0), maxDecoders)
	todo, ordered := make(chan *job, decoders), make(chan *job, decoders)
	var group sync.WaitGroup
	for range decoders {
		group.Go(func() {
			d := t.decoder()
			for j := range todo {
				d.run(j)
			}
		})
	}
	group.Go(func() {
		for j := range ordered {
			<-j.done
			pass(j.entries, len(j.items))
		}
	})
	for {
		items, err := q.take(ctx, decodeAtOnce)
		if err != nil {
			if items = q.takeNow(decodeAtOnce); len(items) == 0 {
				break
			}
		}
		j := &job{items: items, done: make(chan struct{})}
		ordered <- j
		todo <- j
	}
	close(todo)
	close(ordered)
	group.Wait()
}

func (t *decoder) run(j *job) {
	defer close(j.done)
	j.entries = make([]entry, 0, len(j.items))
	for _, i := range j.items {
		if e, passes := t.translate(i); passes {
			j.entries = append(j.entries, e)
		}
		i.slab.release()
	}
}
