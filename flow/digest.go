package flow

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// digested are texts of which only the digest is wanted: there are several for each
// change of a service, and the room for them is used again.
var digested = sync.Pool{New: func() any { return &bodyWriter{} }}

// Digest tells bodies apart by what they mean, not by how they are spelled.
func (b Body) Digest() string {
	w := digested.Get().(*bodyWriter)
	defer digested.Put(w)
	w.out, w.err = w.out[:0], nil
	if w.body(&b); w.err != nil {
		return ""
	}
	return DigestOf(w.out)
}

// DigestOf is the Digest of a body of which the Text is at hand.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
