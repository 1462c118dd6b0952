package consumers_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// TestATimerThatItsPredecessorRemovedIsSetAgain: NATS removes what is stored on a timer's
// subject when it fires, and that may be one which replaced it a moment before.
func TestATimerThatItsPredecessorRemovedIsSetAgain(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	timers, set := work.NewTimers(w.pipe.Pipeline), record.Timers[flow.DeadlineCheck]
	must(t, timers.CancelTimer(t.Context(), service, flow.DeadlineCheck))
	fired := pipeline.Work{Service: service, Timer: &pipeline.Timer{Name: flow.DeadlineCheck, Generation: set.Generation - 1, Due: time.Now()}}
	_, err = w.pipe.PublishWork(t.Context(), fired, "")
	must(t, err)
	poll.Until(t, "the timer to be stored again", func() bool {
		message, err := w.pipe.Stream(pipeline.StreamWork).Last(t.Context(), pipeline.TimerSubject(service, flow.DeadlineCheck))
		return err == nil && message != nil
	})
}

// TestATimerThatWasLostWakesItsServiceAllTheSame, also of a service that waits for nothing else.
func TestATimerThatWasLostWakesItsServiceAllTheSame(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	stop()
	record, revision, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	late := time.Now().Add(-time.Minute)
	timer := record.Timers[flow.DeadlineCheck]
	timer.Due = late
	record.Timers[flow.DeadlineCheck] = timer
	record.State.Deadlines[flow.DeadlineCheck] = late
	_, err = w.pipe.SaveRecord(t.Context(), service, record, revision)
	must(t, err)
	must(t, work.NewTimers(w.pipe.Pipeline).CancelTimer(t.Context(), service, flow.DeadlineCheck))
	worker := consumers.New(consumers.Config{ID: "two", Settings: quick(), ScanInterval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, worker.Stop(ending))
	})
	poll.Until(t, "no timer to be overdue", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		return err == nil && !record.Timers[flow.DeadlineCheck].Due.Equal(late)
	})
}
