//go:build race

package effort

// unpooled is how much more is allocated with the race detector: a sync.Pool then drops
// items at random, such as regexp's buffers.
const unpooled = 4

// slower is how much longer work takes than the hash with the race detector, which watches Go's memory and not the
// assembly that hashes: five to ten times, of which two are allowed for.
const slower = 2
