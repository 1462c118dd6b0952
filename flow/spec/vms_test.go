package spec

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestVMsAreThoseTheyWereMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.IntRange(0, 40)).Draw(t, "ids")
		set := VMsOf(slices.Clone(ids))
		for id := range 45 {
			if set.Has(id) != slices.Contains(ids, id) {
				t.Fatalf("%v has %d: %t", set, id, set.Has(id))
			}
		}
		for i, span := range set {
			if span[0] > span[1] || i > 0 && set[i-1][1]+1 >= span[0] {
				t.Fatalf("%v is not made of ranges that lie apart, ascending", set)
			}
		}
	})
}
