package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Entry is a stored message: exactly one of the four is set.
type Entry struct {
	Time       time.Time
	Transition *pipeline.Transition
	Event      *pipeline.Event
	Delivery   *pipeline.Delivery
	DeadLetter *pipeline.DeadLetter
}

// Service is the service that it names, -1 for none.
func (e Entry) Service() int {
	switch {
	case e.Transition != nil:
		return e.Transition.Service
	case e.Event != nil && e.Event.VM != nil:
		return e.Event.VM.Service
	case e.Delivery != nil:
		return e.Delivery.Service
	case e.DeadLetter != nil:
		return e.DeadLetter.Service()
	}
	return -1
}

// tails are the streams that can be followed.
var tails = map[string]struct {
	filter string
	read   func(js.Message) (Entry, error)
}{
	pipeline.StreamFlow: {pipeline.SubjectsFlow, func(message js.Message) (Entry, error) {
		transition, err := pipeline.ReadTransition(message)
		return Entry{Time: transition.Time, Transition: &transition}, err
	}},
	pipeline.StreamONE: {pipeline.SubjectsEvents, func(message js.Message) (Entry, error) {
		event, err := pipeline.DecodeEvent(message.Data)
		return Entry{Time: message.Time, Event: &event}, err
	}},
	pipeline.StreamHook: {pipeline.SubjectsHook, func(message js.Message) (Entry, error) {
		var delivery pipeline.Delivery
		err := json.Unmarshal(message.Data, &delivery)
		if err == nil && delivery.Version > pipeline.Version {
			err = errors.New("it was written by a newer Flowjet")
		}
		return Entry{Time: message.Time, Delivery: &delivery}, err
	}},
	pipeline.StreamDead: {pipeline.SubjectsDead, func(message js.Message) (Entry, error) {
		letter := pipeline.ReadDeadLetter(message)
		return Entry{Time: message.Time, DeadLetter: &letter}, nil
	}},
}

// Ends are the sequences of the last messages of streams: what is read behind them is new.
func (i *Inspector) Ends(ctx context.Context, streams []string) (map[string]uint64, error) {
	ends := map[string]uint64{}
	for _, name := range streams {
		end, err := i.core.Stream(name).End(ctx)
		if err != nil {
			return nil, err
		}
		ends[name] = end
	}
	return ends, nil
}

// Tail visits what a stream (StreamFlow, StreamONE, StreamHook or StreamDead)
// holds behind a sequence, oldest first. What cannot be understood is left out.
func (i *Inspector) Tail(ctx context.Context, stream string, after uint64, visit func(Entry)) error {
	tail := tails[stream]
	return i.core.Stream(stream).Each(ctx, tail.filter, after, func(message js.Message) {
		if entry, err := tail.read(message); err == nil {
			visit(entry)
		}
	})
}

// Follow visits what comes to such a stream behind a sequence, until ctx ends, whose error it returns.
func (i *Inspector) Follow(ctx context.Context, stream string, after uint64, visit func(Entry)) error {
	tail := tails[stream]
	r, err := i.core.Stream(stream).Read(ctx, tail.filter, after)
	if err != nil {
		return fmt.Errorf("follow stream %s: %w", stream, err)
	}
	defer r.Stop()
	for {
		message, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if entry, err := tail.read(message); err == nil {
			visit(entry)
		}
	}
}

// RecentEvents is what the last events tell of the feeds.
type RecentEvents struct {
	// Last is when the newest event was stored.
	Last time.Time
	// Count is how many events were read, Resynced how many of them were
	// found by comparing with oned because ZeroMQ had lost them.
	Count, Resynced int
	LastResynced    time.Time
}

// RecentEvents reads the last events, among at most so many messages.
func (i *Inspector) RecentEvents(ctx context.Context, most uint64) (recent RecentEvents, err error) {
	end, err := i.core.Stream(pipeline.StreamONE).End(ctx)
	if err != nil {
		return RecentEvents{}, err
	}
	err = i.core.Stream(pipeline.StreamONE).Each(ctx, pipeline.SubjectsEvents, end-min(end, most), func(message js.Message) {
		recent.Count++
		recent.Last = message.Time
		if message.Header.Get(pipeline.HeaderResync) != "" {
			recent.Resynced++
			recent.LastResynced = message.Time
		}
	})
	if err != nil {
		return RecentEvents{}, fmt.Errorf("read the last events: %w", err)
	}
	return recent, nil
}
