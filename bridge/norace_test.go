//go:build !race

package bridge

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = false
