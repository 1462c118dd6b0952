package flow

import "fmt"

func stateName(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}

func stateNumber(name string, names []string) (int, bool) {
	for n, known := range names {
		if known == name {
			return n, true
		}
	}
	return 0, false
}
