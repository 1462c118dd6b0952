package tenant

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/internal/terminal"
)

const (
	// maxSeveral bounds how many ids a list can have.
	maxSeveral = 1000
	// maxRefused is how many errors are shown.
	maxRefused = 5
)

// listText is a list of ids and ranges as OpenNebula's commands take it.
var listText = regexp.MustCompile(`^\d{1,9}(\.\.\d{1,9})?(,\d{1,9}(\.\.\d{1,9})?)*$`)

// idsOf returns the ids of a list such as 1,4..6. Every other word is one name.
func idsOf(word string) ([]string, error) {
	if !listText.MatchString(word) {
		return []string{word}, nil
	}
	var ids []string
	for _, part := range strings.Split(word, ",") {
		first, last, isRange := strings.Cut(part, "..")
		if !isRange {
			last = first
		}
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		if from > to || to-from >= maxSeveral-len(ids) {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("%q must be a list of at most %d ids, such as 1,4..6", word, maxSeveral))
		}
		for id := from; id <= to; id++ {
			ids = append(ids, strconv.Itoa(id))
		}
	}
	return ids, nil
}

// forEach changes each of a list of ids. It continues after one that is refused, and fails at the end.
func forEach(ctx context.Context, c *console, args []string, one func(args []string) error) error {
	ids, err := idsOf(args[0])
	if err != nil {
		return err
	}
	if len(ids) == 1 {
		return one(append(ids, args[1:]...))
	}
	c.several = true
	var refused []string
	for _, id := range ids {
		err := one(append([]string{id}, args[1:]...))
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil:
			refused = append(refused, err.Error())
		}
	}
	if len(refused) > 0 {
		shown := refused[:min(len(refused), maxRefused)]
		if more := len(refused) - len(shown); more > 0 {
			shown = append(slices.Clip(shown), fmt.Sprintf("and %d more", more))
		}
		return fmt.Errorf("%d of %d changes failed: %s", len(refused), len(ids), strings.Join(shown, "; "))
	}
	return nil
}
