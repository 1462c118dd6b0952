//go:build !race

package effort

// unpooled is 1: pools keep what is put into them.
const unpooled = 1

// slower is 1: the work and the hash are both as fast as they are.
const slower = 1
