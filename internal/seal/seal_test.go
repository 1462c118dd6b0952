package seal

import (
	"errors"
	"strings"
	"testing"
)

func box(keys ...string) *Box {
	return &Box{Keys: func() [][]byte {
		var all [][]byte
		for _, key := range keys {
			all = append(all, []byte(key))
		}
		return all
	}}
}

func TestWhatIsSealedIsOpenedByWhoHasTheKey(t *testing.T) {
	const text = `{"PASSWORD":"marked"}`
	sealed := box("a").Seal([]byte(text))
	if strings.Contains(sealed, "marked") || sealed == box("a").Seal([]byte(text)) {
		t.Errorf("sealed as %s", sealed)
	}
	for _, keys := range [][]string{{"a"}, {"b", "a"}} {
		if opened, err := box(keys...).Open(sealed); err != nil || string(opened) != text {
			t.Errorf("with %v: %s, %v", keys, opened, err)
		}
	}
	for _, other := range []string{sealed[:len(sealed)-1] + "A", sealed[:len(sealed)-4]} {
		if _, err := box("a").Open(other); err == nil && other != sealed {
			t.Errorf("%s was opened", other)
		}
	}
	if _, err := box("b").Open(sealed); !errors.Is(err, ErrKey) {
		t.Errorf("with another key: %v", err)
	}
	for _, none := range []string{"", "x", Prefix, Prefix + "A", Prefix + "!"} {
		if _, err := box("a").Open(none); err == nil {
			t.Errorf("%q was opened", none)
		}
	}
}
