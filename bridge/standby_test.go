package bridge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// mutedStore does not answer who has a feed, as JetStream during an election.
type mutedStore struct{ *fakeStore }

func (mutedStore) LastLease(ctx context.Context, _ string) (pipeline.Lease, uint64, error) {
	<-ctx.Done()
	return pipeline.Lease{}, 0, ctx.Err()
}

// beatingLease notes when its holder announced itself.
type beatingLease struct {
	fakeLease
	beats *[]time.Time
}

func (l beatingLease) Beat(bool, bool) error {
	*l.beats = append(*l.beats, time.Now())
	return nil
}

// TestAHolderIsHeardWhileJetStreamIsSilent: it lives, and no other bridge is to take its feed
// over because it waits to be told whose that is.
func TestAHolderIsHeardWhileJetStreamIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mutedStore{newFakeStore()}
		f := &feed{Bridge: &Bridge{config: Config{Standby: time.Second}, store: store}}
		f.listener = &listener{feed: f}
		ctx, cancel := context.WithTimeout(t.Context(), 3*confirmLease)
		defer cancel()
		var beats []time.Time
		f.sendHeartbeats(ctx, fakeWatch{}, beatingLease{fakeLease(store), &beats}, func(cause error) { t.Errorf("it gave the feed up: %v", cause) })
		for i, beat := range beats[1:] {
			if silence := beat.Sub(beats[i]); silence >= f.config.Standby {
				t.Errorf("it was silent for %v: another bridge takes its feed over after %v", silence, f.config.Standby)
			}
		}
	})
}
