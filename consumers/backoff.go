package consumers

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	firstWait = 50 * time.Millisecond
	longWait  = 5 * time.Second
)

// backoff waits longer each time, up to five seconds, and never quite as long
// as another one.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: firstWait} }

// wait returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	length := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, longWait)
	_ = idle.For(ctx, length)
}
