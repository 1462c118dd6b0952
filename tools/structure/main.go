// Command structure measures how the code is divided and compares it with the ceilings in tools/structure/ceilings: a number may
// fall, never rise. `make structure` runs it in the repository's folder.
//
// Go is counted outside tools/. Types and functions are counted without tests;
// a type stands in each file that declares it or a method of it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ceilingsFile has a line for each measure: its name, a colon, the number.
const ceilingsFile = "tools/structure/ceilings"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(1)
	}
}

func run() error {
	code, err := readCode(".")
	if err != nil {
		return err
	}
	options, err := countOptions("docs/configuration.md")
	if err != nil {
		return err
	}
	ceilings, err := readCeilings(ceilingsFile)
	if err != nil {
		return err
	}
	code.printPackages()
	code.printTypes()
	return compare(code.measures(options), ceilings)
}

// A measure is a number that has a bound in ceilingsFile.
type measure struct {
	name  string
	value float64
	// floor is true for a number that must not fall.
	floor bool
}

// compare prints every measure beside its bound. It returns an error if one is past it.
func compare(measures []measure, ceilings map[string]float64) error {
	var past []string
	fmt.Println()
	for _, m := range measures {
		bound, known := ceilings[m.name]
		if !known {
			return fmt.Errorf("%s has no line for %q: add \"%s: %v\"", ceilingsFile, m.name, m.name, m.value)
		}
		worse, better, kind, mend := m.value > bound, m.value < bound, "ceiling", "lower"
		if m.floor {
			worse, better, kind, mend = m.value < bound, m.value > bound, "floor", "raise"
		}
		line := fmt.Sprintf("%-44s %9v  %s %v", m.name, m.value, kind, bound)
		switch {
		case worse:
			past = append(past, m.name)
			line += "  PAST IT"
		case better:
			line += fmt.Sprintf("  (%s the %s in %s)", mend, kind, ceilingsFile)
		}
		fmt.Println(line)
	}
	if len(past) > 0 {
		return fmt.Errorf("past the bounds in %s: %s", ceilingsFile, strings.Join(past, ", "))
	}
	return nil
}

func readCeilings(path string) (map[string]float64, error) {
	ceilings := map[string]float64{}
	return ceilings, eachLine(path, func(line string) error {
		name, number, found := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") || !found {
			return nil
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		ceilings[name] = value
		return err
	})
}

// countOptions returns the number of rows in the page's table of options, which a test of app holds against the options themselves.
func countOptions(path string) (int, error) {
	count, inTable := 0, false
	err := eachLine(path, func(line string) error {
		switch {
		case strings.HasPrefix(line, "<!-- options:"):
			inTable = strings.Contains(line, "begin")
		case inTable && strings.HasPrefix(line, "| `"):
			count++
		}
		return nil
	})
	return count, err
}

func eachLine(path string, do func(line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	return lines.Err()
}
