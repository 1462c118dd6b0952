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

// Backoff waits longer each time, with jitter.
type Backoff struct{ next, longest time.Duration }

// NewBackoff returns a Backoff for calls to oned and NATS: the first wait is 25 to 50 ms, the longest 5 s.
func NewBackoff() *Backoff { return Between(50*time.Millisecond, 5*time.Second) }

// Between returns a Backoff whose first wait is half of first or more, and whose longest is longest.
func Between(first, longest time.Duration) *Backoff { return &Backoff{first, longest} }

// Next returns how long to wait.
func (b *Backoff) Next() time.Duration {
	length := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, b.longest)
	return length
}

// Wait waits; it returns early when ctx ends.
func (b *Backoff) Wait(ctx context.Context) { _ = For(ctx, b.Next()) }
