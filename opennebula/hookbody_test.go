package opennebula

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

// sameAsTheStandard decodes a body into memory that ends in a guard, and compares
// what comes out with the standard library's.
func sameAsTheStandard(t *testing.T, body []byte) {
	t.Helper()
	const guard = 64
	size := base64.StdEncoding.DecodedLen(len(body))
	memory := bytes.Repeat([]byte{0xa5}, size+guard)
	text, _, err := (&EventDecoder{text: memory[:size:size]}).decodeBody(body)
	want := make([]byte, size)
	n, wanted := base64.StdEncoding.Decode(want, body)
	if (err == nil) != (wanted == nil) || err != nil && err.Error() != wanted.Error() {
		t.Fatalf("%q: %v, want %v", body, err, wanted)
	}
	if err == nil && !bytes.Equal(text, want[:n]) {
		t.Fatalf("%q became %q, want %q", body, text, want[:n])
	}
	if !bytes.Equal(memory[size:], bytes.Repeat([]byte{0xa5}, guard)) {
		t.Fatalf("%q: more was written than there is room for", body)
	}
}

// Bodies of every length are decoded as the standard library does, whole, cut off,
// with a line end in them and with what is not base64.
func TestBodiesAreDecodedAsTheStandardLibraryDoes(t *testing.T) {
	for length := range 300 {
		text := make([]byte, length)
		for i := range text {
			text[i] = byte(rand.Uint32())
		}
		body := []byte(base64.StdEncoding.EncodeToString(text))
		sameAsTheStandard(t, body)
		for at := range body {
			if length > 130 && at%7 != 0 {
				continue
			}
			sameAsTheStandard(t, body[:at])
			for _, odd := range []byte{'\n', '\r', '=', '-', 0, 0xff} {
				changed := bytes.Clone(body)
				changed[at] = odd
				sameAsTheStandard(t, changed)
				sameAsTheStandard(t, append(append(bytes.Clone(body[:at]), odd), body[at:]...))
			}
		}
	}
}

func FuzzBody(f *testing.F) {
	f.Add(encoded(vmMessage(7, "<READY>YES</READY>")))
	f.Add([]byte("AAAA\nAAAA"))
	f.Add([]byte("AAA"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sameAsTheStandard(t, body)
		sameAsTheStandard(t, []byte(base64.StdEncoding.EncodeToString(body)))
	})
}
