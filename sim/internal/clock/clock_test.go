package clock

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestEarliestFirst: what is due at the same moment runs in the order in which it was set, and
// what a stopped clock has not run waits for the next start.
func TestEarliestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		var ran []string
		note := func(name string) func() { return func() { ran = append(ran, name) } }
		c.After(3*time.Second, note("last"))
		c.After(time.Second, note("first"))
		c.After(time.Second, note("second"))
		c.Start()
		c.After(2*time.Second, func() {
			ran = append(ran, "third")
			c.After(0, note("at once"))
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.Stop()
		if want := []string{"first", "second", "third", "at once"}; !slices.Equal(ran, want) {
			t.Errorf("ran %q, want %q", ran, want)
		}
		time.Sleep(2 * time.Second)
		c.Start()
		synctest.Wait()
		c.Stop()
		if ran[len(ran)-1] != "last" || len(ran) != 5 {
			t.Errorf("after another start ran %q", ran)
		}
	})
}
