// Package batch collects what has come over a channel, so that all of it is handled at once.
package batch

import "context"

// Ahead calls next again and again in a goroutine of its own, up to so many results ahead of their receiver, until it fails or ctx ends. That error goes to
// ended, which must have room for it.
func Ahead[T any](ctx context.Context, most int, ended chan<- error, next func(context.Context) (T, error)) <-chan T {
	results := make(chan T, most)
	go func() {
		for {
			result, err := next(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case results <- result:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	return results
}

// Available returns the first element and those that can be had without waiting, at most so many.
func Available[T any](first T, more <-chan T, most int) []T {
	batch := []T{first}
	for len(batch) < most {
		select {
		case next := <-more:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}
