package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// problem is one thing that is wrong with a configuration.
type problem struct {
	// where it was set: flowjet.yaml:7, FLOWJET_ZONE or --zone.
	where string
	// what is wrong, and what mends it.
	what string
}

func (p problem) String() string {
	if p.where == "" {
		return p.what
	}
	return p.where + ": " + p.what
}

type problems []problem

// err is one error with a line for each problem, nil without any.
func (p problems) err() error {
	var all []error
	for _, one := range p {
		all = append(all, errors.New(one.String()))
	}
	return errors.Join(all...)
}

func (p problems) sort() {
	slices.SortFunc(p, func(a, b problem) int { return strings.Compare(a.String(), b.String()) })
}

// suggestion names the nearest of what there is, if one is near.
func suggestion(given string, known []string) string {
	nearest, least := "", len(given)/3+2
	for _, name := range known {
		distance := levenshtein.ComputeDistance(given, name)
		if last := name[strings.LastIndexByte(name, '.')+1:]; last == given {
			distance = 0 // the right name without its section
		}
		if distance < least {
			nearest, least = name, distance
		}
	}
	if nearest == "" {
		return "; `flowjet up --help` lists what there is"
	}
	return fmt.Sprintf("; did you mean %s?", nearest)
}
