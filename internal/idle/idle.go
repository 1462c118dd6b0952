// Package idle waits for a time, once or repeatedly, until a context ends.
package idle

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits so long, or returns ctx's error if that ends first. Without a time to wait it only returns ctx's error.
func For(ctx context.Context, length time.Duration) error {
	if length <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	firstWait = 50 * time.Millisecond
	longWait  = 5 * time.Second
)

// Backoff waits longer each time, up to five seconds, with jitter.
type Backoff struct{ next time.Duration }

// NewBackoff returns a Backoff whose first wait is 25 to 50 ms.
func NewBackoff() *Backoff { return &Backoff{next: firstWait} }

// Next returns how long to wait.
func (b *Backoff) Next() time.Duration {
	length := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, longWait)
	return length
}

// Wait waits; it returns early when ctx ends.
func (b *Backoff) Wait(ctx context.Context) { _ = For(ctx, b.Next()) }
