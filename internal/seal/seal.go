// Package seal encrypts texts that pass through a store that others may read.
//
// Only a holder of the key can open, read or change a sealed text.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
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
	sealing := aead(b.Keys()[0])
	nonce := make([]byte, sealing.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return Prefix + base64.RawStdEncoding.EncodeToString(sealing.Seal(nonce, nonce, text, nil))
}

// Open decrypts a sealed text.
func (b *Box) Open(sealed string) ([]byte, error) {
	encoded, found := strings.CutPrefix(sealed, Prefix)
	data, err := base64.RawStdEncoding.DecodeString(encoded)
	if !found || err != nil {
		return nil, errors.New("decrypt a value: it is not encrypted")
	}
	for _, key := range b.Keys() {
		opening := aead(key)
		if len(data) < opening.NonceSize() {
			break
		}
		if text, err := opening.Open(nil, data[:opening.NonceSize()], data[opening.NonceSize():], nil); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("decrypt a value: %w", ErrKey)
}

// aead returns AES-256-GCM with a key derived from the secret.
func aead(secret []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("flowjet seal 1"))
	block, _ := aes.NewCipher(mac.Sum(nil)) // the key has 32 bytes
	sealing, _ := cipher.NewGCM(block)      // AES has blocks of 16 bytes
	return sealing
}
