package flow

import (
	"crypto/sha256"
	"encoding/hex"
)

// Digest tells bodies apart by what they mean, not by how they are spelled.
func (b Body) Digest() string {
	text, err := b.Text()
	if err != nil {
		return ""
	}
	return DigestOf(text)
}

// DigestOf is the Digest of a body of which the Text is at hand.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
