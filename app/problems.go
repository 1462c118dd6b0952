package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/pflag"
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

// FlagError words an error of the command line's for people.
func FlagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	for _, o := range options {
		if _, complaint := parse(o.standard, bad.GetValue()); o.flag == bad.GetFlag().Name && complaint != "" {
			return fmt.Errorf("--%s %s", o.flag, complaint)
		}
	}
	return err
}

// Nearest is the name that was perhaps meant; empty if none is near.
func Nearest(given string, known []string) string {
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
	return nearest
}

// suggestion names the nearest of what there is, if one is near.
func suggestion(given string, known []string) string {
	nearest := Nearest(given, known)
	if nearest == "" {
		return "; `flowjet help options` lists all options"
	}
	return fmt.Sprintf("; did you mean %s?", nearest)
}
