package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Seen is a message as somebody sees it who only looks: exactly one of the four
// is set.
type Seen struct {
	Time       time.Time
	Transition *Transition
	Event      *Event
	Delivery   *Delivery
	Letter     *Letter
}

// Service is the service that it names, -1 for none.
func (s Seen) Service() int {
	switch {
	case s.Transition != nil:
		return s.Transition.Service
	case s.Event != nil && s.Event.VM != nil:
		return s.Event.VM.Service
	case s.Delivery != nil:
		return s.Delivery.Service
	case s.Letter != nil:
		return s.Letter.Service()
	}
	return -1
}

// sights are the streams of what can be seen.
var sights = map[string]struct {
	filter string
	decode func(jetstream.Msg, *jetstream.MsgMetadata) (Seen, bool)
}{
	StreamFlow: {SubjectsFlow, seeTransition},
	StreamONE:  {SubjectsEvents, seeEvent},
	StreamHook: {SubjectsHook, seeDelivery},
	StreamDead: {SubjectsDead, seeLetter},
}

func seeTransition(message jetstream.Msg, _ *jetstream.MsgMetadata) (Seen, bool) {
	transition, ok := decodeTransition(message)
	return Seen{Time: transition.Time, Transition: &transition}, ok
}

func seeEvent(message jetstream.Msg, metadata *jetstream.MsgMetadata) (Seen, bool) {
	event, err := decodeEvent(message.Data())
	return Seen{Time: metadata.Timestamp, Event: &event}, err == nil
}

func seeDelivery(message jetstream.Msg, metadata *jetstream.MsgMetadata) (Seen, bool) {
	var delivery Delivery
	err := json.Unmarshal(message.Data(), &delivery)
	return Seen{Time: metadata.Timestamp, Delivery: &delivery}, err == nil && delivery.Version <= Version
}

func seeLetter(message jetstream.Msg, metadata *jetstream.MsgMetadata) (Seen, bool) {
	letter := readLetter(message.Subject(), message.Headers(), message.Data(), metadata.Sequence.Stream, metadata.Timestamp)
	return Seen{Time: metadata.Timestamp, Letter: &letter}, true
}

// Ends are the sequences of the last messages of streams: what is read behind
// them is new.
func (p *Pipeline) Ends(ctx context.Context, streams []string) (map[string]uint64, error) {
	ends := map[string]uint64{}
	for _, name := range streams {
		info, err := p.infoOf(ctx, p.streams[name])
		if err != nil {
			return nil, fmt.Errorf("find the end of stream %s: %w", name, err)
		}
		ends[name] = info.State.LastSeq
	}
	return ends, nil
}

// EachSeen visits what a stream (StreamFlow, StreamONE, StreamHook or StreamDead)
// holds behind a sequence, oldest first. What cannot be understood is left out.
func (p *Pipeline) EachSeen(ctx context.Context, stream string, after uint64, visit func(Seen)) error {
	sight := sights[stream]
	r := p.newReader(stream, sight.filter, after)
	defer r.Stop()
	err := r.drain(ctx, func(message jetstream.Msg, metadata *jetstream.MsgMetadata) {
		if seen, ok := sight.decode(message, metadata); ok {
			visit(seen)
		}
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	return nil
}

// FollowSeen visits what comes to such a stream behind a sequence, until ctx ends,
// whose error it returns.
func (p *Pipeline) FollowSeen(ctx context.Context, stream string, after uint64, visit func(Seen)) error {
	sight := sights[stream]
	r := p.newReader(stream, sight.filter, after)
	defer r.Stop()
	for {
		message, metadata, err := r.next(ctx)
		if err != nil {
			return err
		}
		if seen, ok := sight.decode(message, metadata); ok {
			visit(seen)
		}
	}
}
