// Package idle waits for a time that an ending context cuts short, once or again and again.
package idle

import (
	"context"
	"time"
)

// For waits so long, or returns ctx's error when that ends first. Without a time
// to wait it only reports whether ctx has ended.
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
