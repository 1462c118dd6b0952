package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream whose last blocks were damaged ends before what has been read of it: the server
// drops at its start what it cannot read, and numbers on from there. What is stored then has
// numbers that readers have passed and records count as handled, and nobody reads it.

// EndOf returns the number of the last message that a stream has had.
func (p *Pipeline) EndOf(ctx context.Context, stream string) (uint64, error) {
	var last uint64
	err := persist(ctx, func(ctx context.Context) error {
		info, err := p.streams[stream].Info(ctx)
		if err == nil {
			last = info.State.LastSeq
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ask where stream %s ends: %w", stream, err)
	}
	return last, nil
}

// WorkEndsEarly reports whether StreamWork ends before its readers' cursors.
func (p *Pipeline) WorkEndsEarly(ctx context.Context) (read, last uint64, early bool, err error) {
	if last, err = p.EndOf(ctx, StreamWork); err != nil {
		return 0, 0, false, err
	}
	read, err = p.furthestCursor(ctx, StreamWork)
	return read, last, read > last, err
}

// RepairWork numbers StreamWork on from behind its readers' cursors, where it ends before
// them. The timers and the commands in it that have not ended are published again; other
// wake-ups are dropped, so that every service is to be woken afterwards. Several processes
// may repair it at once.
func (p *Pipeline) RepairWork(ctx context.Context) (repaired bool, err error) {
	read, last, early, err := p.WorkEndsEarly(ctx)
	if err != nil || !early {
		return false, err
	}
	p.log.Error("stream WORK was damaged: it ends before what has been read of it, and is numbered anew", "ends_at", last, "read_up_to", read)
	kept, err := p.unfinishedWork(ctx)
	if err != nil {
		return false, fmt.Errorf("read what is left of stream %s: %w", StreamWork, err)
	}
	err = persist(ctx, func(ctx context.Context) error {
		return p.streams[StreamWork].Purge(ctx, jetstream.WithPurgeSequence(read+beyondCursors))
	})
	if err != nil {
		return false, fmt.Errorf("number stream %s on from %d: %w", StreamWork, read+beyondCursors, err)
	}
	for _, message := range kept {
		if _, err := p.publish(ctx, message); err != nil {
			return false, fmt.Errorf("publish again what was left of stream %s: %w", StreamWork, err)
		}
	}
	return true, nil
}

// unfinishedWork is what is to be kept of the messages that StreamWork still has.
func (p *Pipeline) unfinishedWork(ctx context.Context) (kept []*nats.Msg, err error) {
	r := p.newReader(StreamWork, "", 0)
	defer r.Stop()
	err = r.drain(ctx, func(message jetstream.Msg, metadata *jetstream.MsgMetadata) {
		again := nats.NewMsg(message.Subject())
		again.Data, again.Header = message.Data(), nats.Header{}
		for name, values := range message.Headers() {
			if keepsHeader(name) || name == headerSchedule || name == headerScheduleTarget || name == headerTTL || name == HeaderReplyTo {
				again.Header[name] = values
			}
		}
		again.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("repair-%d-%d", metadata.Timestamp.UnixNano(), metadata.Sequence.Stream))
		if strings.HasPrefix(again.Subject, "flow.timer.") {
			kept = append(kept, again)
			return
		}
		var work Work
		if json.Unmarshal(again.Data, &work) != nil || work.Command == nil {
			return
		}
		status, err := p.storedStatus(ctx, work.Command.ID)
		if err == nil && status.State == CommandQueued {
			again.Subject = WorkSubject(work.Service)
			kept = append(kept, again)
		}
	})
	return kept, err
}
