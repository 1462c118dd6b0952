//go:build !race

package bridge

// raceEnabled reports whether the race detector makes everything slow.
const raceEnabled = false
