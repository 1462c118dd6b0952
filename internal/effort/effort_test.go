package effort

import (
	"crypto/sha256"
	"testing"
)

// fake is a test that notes its failure.
type fake struct {
	testing.TB
	failed bool
}

func (f *fake) Helper()               {}
func (f *fake) Fatalf(string, ...any) { f.failed = true; panic(f) }

// exceeds reports whether work is found to be too much for an input of so many bytes.
func exceeds(t *testing.T, size int, work func()) bool {
	t.Helper()
	f := &fake{TB: t}
	func() {
		defer func() { _ = recover() }()
		Bounded(f, size, work)
	}()
	return f.failed
}

// Work in proportion to the input is taken, and work that is not, whether it takes memory or
// time, is found.
func TestBounded(t *testing.T) {
	const size = 256 << 10
	input := make([]byte, size)
	var sink []byte
	if exceeds(t, size, func() { sink = append([]byte{}, input...) }) {
		t.Error("a copy is too much")
	}
	if !exceeds(t, size, func() {
		for at := 0; at < size; at += 16 {
			sink = append([]byte{}, input[at:]...)
		}
	}) {
		t.Error("a copy for each part of the input is not too much")
	}
	nothing := make([]byte, alike)
	if !exceeds(t, 0, func() {
		for range 3 * hashes {
			sha256.Sum256(nothing)
		}
	}) {
		t.Error("so many hashes are not too much")
	}
	_ = sink
}
