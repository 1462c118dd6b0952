package spec

import (
	"cmp"
	"slices"
)

// VMs is a set of VM ids, as ascending ranges of a first and a last id: a service's VMs are mostly numbered in a row.
type VMs [][2]int

// VMsOf returns the set of ids, which it sorts.
func VMsOf(ids []int) (set VMs) {
	slices.Sort(ids)
	for _, id := range ids {
		if last := len(set) - 1; last >= 0 && id <= set[last][1]+1 {
			set[last][1] = id
			continue
		}
		set = append(set, [2]int{id, id})
	}
	return set
}

// Has reports whether the set has the id.
func (v VMs) Has(id int) bool {
	at, found := slices.BinarySearchFunc(v, id, func(span [2]int, id int) int { return cmp.Compare(span[0], id) })
	return found || at > 0 && id <= v[at-1][1]
}
