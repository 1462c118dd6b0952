package terminal

import (
	"context"
	"strings"
	"testing"
)

func TestAFrameFitsItsTerminal(t *testing.T) {
	got := frame("\x1b[1mtitle\x1b[0m of it\nsecond\nthird\n", 8, 2)
	if want := "\x1b[H\x1b[1mtitle\x1b[0m of\x1b[0m\x1b[K\r\nsecond\x1b[0m\x1b[K\x1b[J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := fit("äöüß€", 3); got != "äöü" {
		t.Errorf("cut to three it is %q", got)
	}
}

func TestKeysThatQuit(t *testing.T) {
	for keys, want := range map[string]bool{"q": true, "xyQ": true, "\x03": true, "": true} {
		ctx, cancel := context.WithCancel(t.Context())
		awaitQuit(strings.NewReader(keys), cancel)
		if (ctx.Err() != nil) != want {
			t.Errorf("%q: quits %v", keys, !want)
		}
		cancel()
	}
}

// TestNoScreenOnAPipe: what is no terminal is written to once.
func TestNoScreenOnAPipe(t *testing.T) {
	if _, drawn := New(&strings.Builder{}, Table).Screen(func() {}); drawn {
		t.Error("a buffer is drawn on")
	}
}
