// Package seal encrypts texts that pass through a store that others may read.
//
// Only a holder of the key can open, read or change a sealed text.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Prefix is the beginning of every sealed text.
const Prefix = "sealed:1:"

// ErrKey is returned for a text that was sealed with another key, or changed since.
var ErrKey = errors.New("it was encrypted with another key")

// Box seals with the newest of its keys, and opens with any of them.
type Box struct {
	Keys func() [][]byte // secrets of any length, the newest first, and at least one
}

// Seal returns the text encrypted, as printable ASCII.
func (b *Box) Seal(text []byte) string {
	return Prefix + base64.RawStdEncoding.EncodeToString(aead(b.Keys()[0]).Seal(nil, nil, text, nil))
}

// Open decrypts a sealed text.
func (b *Box) Open(sealed string) ([]byte, error) {
	encoded, found := strings.CutPrefix(sealed, Prefix)
	data, err := base64.RawStdEncoding.DecodeString(encoded)
	if !found || err != nil {
		return nil, errors.New("decrypt a value: it is not encrypted")
	}
	for _, key := range b.Keys() {
		if text, err := aead(key).Open(nil, nil, data, nil); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("decrypt a value: %w", ErrKey)
}

// aead returns AES-256-GCM with a key derived from the secret. It puts a random nonce in front of what it seals.
func aead(secret []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("flowjet seal 1"))
	block, _ := aes.NewCipher(mac.Sum(nil)) // neither fails for a key of 32 bytes
	sealing, _ := cipher.NewGCMWithRandomNonce(block)
	return sealing
}
