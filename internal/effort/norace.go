//go:build !race

package effort

// unpooled is 1: pools keep what is put into them.
const unpooled = 1
