package bridge

import (
	"sync"
	"sync/atomic"
)

// slabSize is the memory that messages are read into together: at full rate a
// message each is what the garbage collector would spend most of its time on.
const slabSize = 256 << 10

// slab is the memory of some messages. It is used again when all of them have
// been decoded.
type slab struct {
	data []byte
	used int
	// users are the messages in it, and the listener that fills it.
	users atomic.Int32
}

var slabs = sync.Pool{New: func() any { return &slab{data: make([]byte, slabSize)} }}

func newSlab() *slab {
	s := slabs.Get().(*slab) //nolint:forcetypeassert // the pool has nothing else
	s.used = 0
	s.users.Store(1)
	return s
}

// take is so many bytes of the slab; false means that they do not fit.
func (s *slab) take(size int) ([]byte, bool) {
	if size > s.left() {
		return nil, false
	}
	part := s.data[s.used : s.used+size : s.used+size]
	s.used += size
	return part, true
}

func (s *slab) left() int { return len(s.data) - s.used }

func (s *slab) share() { s.users.Add(1) }

// release lets go of a slab. Who does not loses nothing but the memory's being
// used again.
func (s *slab) release() {
	if s != nil && s.users.Add(-1) == 0 {
		slabs.Put(s)
	}
}
