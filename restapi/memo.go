package restapi

import (
	"bytes"
	"sync"

	"github.com/flowjet/flowjet/opennebula"
)

// maxMemoBytes bounds what one memo keeps.
const maxMemoBytes = 64 << 20

// memo keeps what was made of documents: of thousands in a list, few have changed since it was
// read last. It gives back only what was made of the very same document.
type memo[T any] struct {
	make func(opennebula.Document) T
	// size is about how many bytes a T takes, with its document.
	size func(opennebula.Document, T) int

	mu sync.Mutex
	// made are by the document's id; when they take half of the room they become former, and
	// what nobody has wanted since they became it is forgotten.
	made, former map[int]madeOf[T]
	bytes        int
}

type madeOf[T any] struct {
	document opennebula.Document
	value    T
}

// of returns what is made of a document.
func (m *memo[T]) of(document opennebula.Document) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, found := m.made[document.ID]
	if found && same(known.document, document) {
		return known.value
	}
	if found {
		m.bytes -= m.size(known.document, known.value)
	}
	if known, found = m.former[document.ID]; !found || !same(known.document, document) {
		known = madeOf[T]{document, m.make(document)}
	}
	if m.made == nil || m.bytes > maxMemoBytes/2 {
		m.made, m.former, m.bytes = map[int]madeOf[T]{}, m.made, 0
	}
	m.made[document.ID] = known
	m.bytes += m.size(known.document, known.value)
	return known.value
}

// same reports whether nothing that is shown of two documents differs.
func same(a, b opennebula.Document) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Owner == b.Owner && a.Name == b.Name &&
		a.Permissions == b.Permissions && a.Locked == b.Locked && bytes.Equal(a.Body, b.Body)
}
