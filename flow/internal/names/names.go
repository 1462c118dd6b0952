// Package names turns states into their names.
package names

import "fmt"

// Of is a state's name; that of a state which has none shows its number.
func Of(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}

// All are the states that have the names, in their order.
func All[S ~int](names []string) []S {
	states := make([]S, len(names))
	for i := range states {
		states[i] = S(i)
	}
	return states
}
