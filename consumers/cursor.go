package consumers

import "sync"

// cursor follows which inputs of a partition are finished although the service loops
// finish them out of order: it stands before the oldest unfinished one.
type cursor struct {
	mutex    sync.Mutex
	open     []uint64 // unfinished or finished but not yet passed, ascending
	finished map[uint64]bool
	low      uint64 // everything up to here is finished
}

func newCursor(after uint64) *cursor {
	return &cursor{low: after, finished: map[uint64]bool{}}
}

// started notes an input that has been read.
func (c *cursor) started(sequence uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open = append(c.open, sequence)
}

// ended notes an input that is committed or needs no commit.
func (c *cursor) ended(sequence uint64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.finished[sequence] = true
	for len(c.open) > 0 && c.finished[c.open[0]] {
		c.low = c.open[0]
		delete(c.finished, c.open[0])
		c.open = c.open[1:]
	}
}

// position is the sequence up to which everything is finished.
func (c *cursor) position() uint64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.low
}
