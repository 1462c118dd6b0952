package idle

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstWait = 50 * time.Millisecond
	longWait  = 5 * time.Second
)

// Backoff waits longer each time, up to five seconds, and never quite as long
// as another one.
type Backoff struct{ next time.Duration }

// NewBackoff returns one whose first wait is of 25 to 50 ms.
func NewBackoff() *Backoff { return &Backoff{next: firstWait} }

// Wait returns early when ctx ends.
func (b *Backoff) Wait(ctx context.Context) {
	length := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, longWait)
	_ = For(ctx, length)
}
