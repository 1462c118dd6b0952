//go:build race

package effort

// unpooled is how much more is allocated with the race detector: a sync.Pool drops at random
// what is put into it then, as regexp's buffers.
const unpooled = 4
