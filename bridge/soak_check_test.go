package bridge

import (
	"encoding/json"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
)

// toldEvents are the events that bridges may store, as each publisher told them,
// by their hashes.
type toldEvents struct {
	mu     sync.Mutex
	hashes map[string][]string // by endpoint
	all    int
}

// note keeps what was published under a key that is carried on.
func (e *toldEvents) note(endpoint, key string, body []byte) {
	if !strings.HasPrefix(key, "EVENT STATE ") && !strings.HasPrefix(key, "EVENT API one.vm.update ") {
		return
	}
	hash := hashOf(xxhash.New(), [][]byte{[]byte(key), body})
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hashes == nil {
		e.hashes = map[string][]string{}
	}
	e.hashes[endpoint] = append(e.hashes[endpoint], hash)
	e.all++
}

func (e *toldEvents) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all
}

// checkStored holds what is stored as heard against what was told, feed by feed:
// it is a part of it, in the same order, and nothing is there twice. It counts
// the events stored as heard and as found.
func (s *soak) checkStored(p *pipeline.Pipeline) (heard, found int) {
	s.told.mu.Lock()
	defer s.told.mu.Unlock()
	left := map[string][]string{} // by feed: what was told behind the last stored event
	for endpoint, hashes := range s.told.hashes {
		left[feedName(0, endpoint)] = hashes
	}
	ids, wrong := map[string]bool{}, 0
	for message := range s.messages(p) {
		header := message.Headers()
		feed, id := header.Get(pipeline.HeaderFeed), header.Get(jetstream.MsgIDHeader)
		if strings.HasPrefix(message.Subject(), "one.lease.") {
			continue
		}
		if ids[id] {
			s.t.Errorf("message %s is stored twice", id)
		}
		ids[id] = true
		if header.Get(pipeline.HeaderResync) != "" {
			found++
			continue
		}
		heard++
		rest, is := behind(left[feed], id[:min(hashLength, len(id))])
		if !is {
			if wrong++; wrong <= 5 {
				s.t.Errorf("event %d of %s, %s %s, is stored twice, out of order or was never told", heard, feed, message.Subject(), describe(message.Data()))
			}
			continue
		}
		left[feed] = rest
	}
	if wrong > 0 {
		s.t.Errorf("%d of %d events are wrong", wrong, heard)
	}
	if heard == 0 {
		s.t.Error("nothing was heard at all")
	}
	return heard, found
}

// behind is what was told behind the next event with a hash.
func behind(told []string, hash string) ([]string, bool) {
	for i, one := range told {
		if one == hash {
			return told[i+1:], true
		}
	}
	return nil, false
}

func describe(data []byte) string {
	var event pipeline.Event
	if json.Unmarshal(data, &event) != nil {
		return "?"
	}
	return event.Title() + " heard " + event.Heard.String()
}

// messages are all that is in StreamONE, in order.
func (s *soak) messages(p *pipeline.Pipeline) func(yield func(jetstream.Msg) bool) {
	ctx := limited(s.t)
	stream, err := p.JetStream().Stream(ctx, pipeline.StreamONE)
	must(s.t, err)
	info, err := stream.Info(ctx)
	must(s.t, err)
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	must(s.t, err)
	return func(yield func(jetstream.Msg) bool) {
		messages, err := consumer.Messages()
		must(s.t, err)
		defer messages.Stop()
		for {
			message, err := messages.Next()
			must(s.t, err)
			metadata, err := message.Metadata()
			must(s.t, err)
			if !yield(message) || metadata.Sequence.Stream >= info.State.LastSeq {
				return
			}
		}
	}
}
