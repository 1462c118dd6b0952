//go:build !race

package effort

// unpooled is 1: pools keep their items.
const unpooled = 1

// slower is 1: the work and the hash both run at full speed.
const slower = 1
