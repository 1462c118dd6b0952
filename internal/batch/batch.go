// Package batch collects what has come over a channel, so that all of it is handled at once.
package batch

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
