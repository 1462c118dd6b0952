package opennebula

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// ETag is the document's entity tag, as HTTP writes it: it changes with
// everything that is shown of the document, and is the same for whoever reads it.
func (d Document) ETag() string {
	text, err := json.Marshal(d)
	if err != nil {
		return "" // plain values: it does not happen
	}
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// Matches reports whether one of the tags is the document's, or is "*", which stands
// for any. No tags ask for nothing.
func (d Document) Matches(tags []string) bool {
	return len(tags) == 0 || slices.Contains(tags, "*") || slices.Contains(tags, d.ETag())
}
