package work

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// A stream whose last blocks were damaged ends before what has been read of it: the server
// drops at its start what it cannot read, and numbers on from there. What is stored then has
// numbers that readers have passed and records count as handled, and nobody reads it.

// EndsEarly reports whether StreamWork ends before its readers' cursors.
func EndsEarly(ctx context.Context, p *pipeline.Pipeline) (read, last uint64, early bool, err error) {
	if last, err = p.Client.Stream(pipeline.StreamWork).End(ctx); err != nil {
		return 0, 0, false, err
	}
	read, err = p.FurthestCursor(ctx, pipeline.StreamWork)
	return read, last, read > last, err
}

// Repair numbers StreamWork on from behind its readers' cursors, where it ends before
// them. The timers and the commands in it that have not ended, of which queued knows, are
// published again; other wake-ups are dropped, so that every service is to be woken
// afterwards. Several processes may repair it at once.
func Repair(ctx context.Context, p *pipeline.Pipeline, queued func(ctx context.Context, command string) bool) (repaired bool, err error) {
	read, last, early, err := EndsEarly(ctx, p)
	if err != nil || !early {
		return false, err
	}
	core := p.Client
	core.Log().Error("stream WORK was damaged: it ends before messages that have been read; it is renumbered", "ends_at", last, "read_up_to", read)
	var kept []*nats.Msg
	err = core.Stream(pipeline.StreamWork).Each(ctx, "", 0, func(message js.Message) {
		if again := unfinished(message, func(command string) bool { return queued(ctx, command) }); again != nil {
			kept = append(kept, again)
		}
	})
	if err != nil {
		return false, fmt.Errorf("read the rest of stream %s: %w", pipeline.StreamWork, err)
	}
	next := read + pipeline.BeyondCursors
	if err := core.Stream(pipeline.StreamWork).Purge(ctx, jetstream.WithPurgeSequence(next)); err != nil {
		return false, fmt.Errorf("renumber stream %s from %d: %w", pipeline.StreamWork, next, err)
	}
	for _, message := range kept {
		if _, err := core.Publish(ctx, message); err != nil {
			return false, fmt.Errorf("republish the rest of stream %s: %w", pipeline.StreamWork, err)
		}
	}
	return true, nil
}

// unfinished is a message of StreamWork as it is to be published again, nil for one that is not.
func unfinished(message js.Message, queued func(command string) bool) *nats.Msg {
	again := nats.NewMsg(message.Subject)
	again.Data = message.Data
	for name, values := range message.Header {
		if pipeline.KeepsHeader(name) || name == headerSchedule || name == headerScheduleTarget || name == headerTTL || name == pipeline.HeaderReplyTo {
			again.Header[name] = values
		}
	}
	again.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("repair-%d-%d", message.Time.UnixNano(), message.Sequence))
	if strings.HasPrefix(again.Subject, "flow.timer.") {
		return again
	}
	var work pipeline.Work
	if json.Unmarshal(again.Data, &work) != nil || work.Command == nil || !queued(work.Command.ID) {
		return nil
	}
	again.Subject = pipeline.WorkSubject(work.Service)
	return again
}
