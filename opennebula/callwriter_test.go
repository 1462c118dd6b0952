package opennebula

import (
	"bytes"
	"testing"

	"github.com/kolo/xmlrpc"
)

// FuzzEncodeCall holds what is written against what kolo/xmlrpc writes.
func FuzzEncodeCall(f *testing.F) {
	f.Add("serveradmin:token", "<TEMPLATE>\"a\" & 'b'\r\n\t]]></TEMPLATE>", 7, true)
	f.Add("", "\x00\xff\xed\xa0\x80 \u00e9 \ufffe \U0001f600", -1, false)
	f.Fuzz(func(t *testing.T, session, text string, number int, choice bool) {
		for _, arguments := range [][]any{nil, {text, number, choice}, {number, []byte(text), text}} {
			written, err := encodeCall("one.vm.info", session, arguments)
			if err != nil {
				t.Fatal(err)
			}
			all := []any{session}
			for _, argument := range arguments {
				if text, isBytes := argument.([]byte); isBytes {
					argument = string(text)
				}
				all = append(all, argument)
			}
			expected, err := xmlrpc.EncodeMethodCall("one.vm.info", all...)
			if err != nil || !bytes.Equal(written, expected) {
				t.Fatalf("written:  %q\nexpected: %q (%v)", written, expected, err)
			}
		}
	})
}

func TestACallOfUnknownArgumentsIsNotMade(t *testing.T) {
	oned := newFakeOned(t)
	err := newTestClient(t, oned.URL).Server().do(t.Context(), "one.vm.info", 1.5)
	if err == nil || Ambiguous(err) || oned.calls != 0 {
		t.Fatalf("%d calls arrived: %v", oned.calls, err)
	}
}

// A call stays as it is while others are written: net/http may still read it.
func TestCallsShareNoMemory(t *testing.T) {
	first, err := encodeCall("one.vm.info", "first", nil)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(first)
	if _, err := encodeCall("one.vm.info", "other", nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, before) {
		t.Fatalf("%q became %q", before, first)
	}
}
