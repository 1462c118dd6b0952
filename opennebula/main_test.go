package opennebula

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
)

// TestMain has every answer spoilt when it is released, in all tests: whatever is
// kept of one shows.
func TestMain(m *testing.M) {
	released = func(memory []byte) { copy(memory[:cap(memory)], bytes.Repeat([]byte{'?'}, cap(memory))) }
	goleak.VerifyTestMain(m)
}
