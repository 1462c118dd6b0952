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
		for _, arguments := range [][]any{nil, {text, number, choice}} {
			written, err := encodeCall("one.vm.info", session, arguments)
			if err != nil {
				t.Fatal(err)
			}
			expected, err := xmlrpc.EncodeMethodCall("one.vm.info", append([]any{session}, arguments...)...)
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
