// Package names turns states into their names, and back.
package names

import "fmt"

// Of is a state's name; that of a state which has none shows its number.
func Of(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}

// Number is the reverse of Of; false for a name that is none of them.
func Number(name string, names []string) (int, bool) {
	for n, known := range names {
		if known == name {
			return n, true
		}
	}
	return 0, false
}

// All are the states that have the names, in their order.
func All[S ~int](names []string) []S {
	states := make([]S, len(names))
	for i := range states {
		states[i] = S(i)
	}
	return states
}
