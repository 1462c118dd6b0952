package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Heard is what the last events tell of the feeds.
type Heard struct {
	// Last is when the newest event was stored.
	Last time.Time
	// Looked is how many events were looked at, Resynced how many of them were
	// found by comparing with oned because ZeroMQ had lost them.
	Looked, Resynced int
	LastResynced     time.Time
}

// HeardLately looks at the last events, among at most so many messages.
func (p *Pipeline) HeardLately(ctx context.Context, most uint64) (Heard, error) {
	info, err := p.infoOf(ctx, p.streams[StreamONE])
	if err != nil {
		return Heard{}, fmt.Errorf("look at stream %s: %w", StreamONE, err)
	}
	after := info.State.LastSeq - min(info.State.LastSeq, most)
	r := p.newReader(StreamONE, SubjectsEvents, after)
	defer r.Stop()
	var heard Heard
	err = r.drain(ctx, func(message jetstream.Msg, metadata *jetstream.MsgMetadata) {
		heard.Looked++
		heard.Last = metadata.Timestamp
		if message.Headers().Get(HeaderResync) != "" {
			heard.Resynced++
			heard.LastResynced = metadata.Timestamp
		}
	})
	if err != nil {
		return Heard{}, fmt.Errorf("read the last events: %w", err)
	}
	return heard, nil
}

// ServerTime is the clock of the NATS server that answers.
func (p *Pipeline) ServerTime(ctx context.Context) (time.Time, error) {
	info, err := p.infoOf(ctx, p.streams[StreamWork])
	if err != nil {
		return time.Time{}, fmt.Errorf("ask NATS for its time: %w", err)
	}
	return info.TimeStamp, nil
}

// Storage is how many bytes of JetStream's storage are used, and how many there
// may be; 0 or less for no limit.
func (p *Pipeline) Storage(ctx context.Context) (used uint64, most int64, err error) {
	info, err := p.js.AccountInfo(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask NATS for the account's storage: %w", err)
	}
	return info.Store, info.Limits.MaxStore, nil
}
