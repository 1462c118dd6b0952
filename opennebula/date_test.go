package opennebula_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

func TestDateOfOned(t *testing.T) {
	want := time.Date(2026, time.November, 27, 21, 5, 55, 0, time.UTC)
	for _, text := range []string{"Fri, 27 Nov 2026 21:05:55 UTC", "Fri, 27 Nov 2026 21:05:55 GMT"} {
		if got, err := opennebula.ParseDate(text); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s (%v)", text, got, err)
		}
	}
	if _, err := opennebula.ParseDate("yesterday"); err == nil {
		t.Error("yesterday is a date")
	}
}
