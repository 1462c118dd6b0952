// Package servertoken makes the sessions with which OneGate and Sunstone log in, for tests. It follows oned's rules and shares no
// code with the checks.
package servertoken

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// Session returns "<server user>:<target>:<token>": the server user acts for the target until it expires. The target is
// a user's name, or "name:gid".
func Session(user, password, target string, expires time.Time) string {
	sum := sha256.Sum256([]byte(password))
	key := []byte(hex.EncodeToString(sum[:])[:32])
	block, _ := aes.NewCipher(key) // the key has 32 bytes
	text := fmt.Appendf(nil, "%s:%s:%d", user, target, expires.Unix())
	padding := aes.BlockSize - len(text)%aes.BlockSize
	text = append(text, bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(text, text)
	return user + ":" + target + ":" + base64.StdEncoding.EncodeToString(text)
}
