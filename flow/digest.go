package flow

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/go-json-experiment/json"
)

// Digest tells bodies apart by what they mean, not by how they are spelled.
func (b Body) Digest() string {
	sum := sha256.New()
	if json.MarshalWrite(sum, b, asBefore) != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// DigestOf is the Digest of a body of which the Text is at hand.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
