package consumers

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

// unarmed reports whether a deadline has no timer.
func (s *saver) unarmed(state flow.State) bool {
	for name := range state.Deadlines {
		if _, set := s.record.Timers[name]; !set {
			return true
		}
	}
	return false
}

// setDueTimers brings the record's timers up to the state's deadlines. The
// generation tells a timer that was replaced from the one that counts.
func (s *saver) setDueTimers() {
	timers := make(map[string]pipeline.TimerState, len(s.record.State.Deadlines))
	for name, due := range s.record.State.Deadlines {
		timer := s.record.Timers[name]
		if !timer.Due.Equal(due) {
			timer = pipeline.TimerState{Generation: s.nextGeneration(), Due: due}
		}
		timers[name] = timer
	}
	s.changedTimers(timers)
	s.record.Timers = timers
}

// nextGeneration never repeats for a service, even for a timer that was
// cancelled and set again.
func (s *saver) nextGeneration() uint64 {
	s.record.Generation++
	return s.record.Generation
}

// changedTimers remembers which timers are to be set or cancelled on NATS.
func (s *saver) changedTimers(timers map[string]pipeline.TimerState) {
	if s.dirtyTimers == nil {
		s.dirtyTimers = map[string]bool{}
	}
	for name, timer := range timers {
		if s.record.Timers[name] != timer {
			s.dirtyTimers[name] = true
		}
	}
	for name := range s.record.Timers {
		if _, kept := timers[name]; !kept {
			s.dirtyTimers[name] = true
		}
	}
}

func (s *saver) syncTimer(ctx context.Context, name string) error {
	if timer, set := s.record.Timers[name]; set {
		return s.setTimer(ctx, name, timer)
	}
	if err := s.worker.pipe.CancelTimer(ctx, s.service, name); err != nil {
		return fmt.Errorf("cancel the timer %s of service %d: %w", name, s.service, err)
	}
	return nil
}

func (s *saver) setTimer(ctx context.Context, name string, timer pipeline.TimerState) error {
	err := s.worker.pipe.SetTimer(ctx, s.service, pipeline.Timer{Name: name, Generation: timer.Generation, Due: timer.Due})
	if err != nil {
		return fmt.Errorf("set the timer %s of service %d: %w", name, s.service, err)
	}
	return nil
}
