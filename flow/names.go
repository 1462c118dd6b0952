package flow

import "fmt"

// stateName is a state's name; that of a state which has none shows its number.
func stateName(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}

// stateNumber is the reverse of stateName; false for a name that is none of them.
func stateNumber(name string, names []string) (int, bool) {
	for n, known := range names {
		if known == name {
			return n, true
		}
	}
	return 0, false
}
