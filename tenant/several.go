package tenant

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/internal/terminal"
)

// maxSeveral bounds how many ids a list can have.
const maxSeveral = 1000

// listText is a list of ids and ranges as OpenNebula's commands take it.
var listText = regexp.MustCompile(`^\d{1,9}(\.\.\d{1,9})?(,\d{1,9}(\.\.\d{1,9})?)*$`)

// idsOf returns the ids of a list such as 1,4..6. Every other word is one name.
func idsOf(word string) ([]string, error) {
	if !listText.MatchString(word) {
		return []string{word}, nil
	}
	var ids []string
	for _, part := range strings.Split(word, ",") {
		first, last, _ := strings.Cut(part, "..")
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(cmp.Or(last, first))
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
		if err := one(append([]string{id}, args[1:]...)); ctx.Err() != nil {
			return err
		} else if err != nil {
			refused = append(refused, err.Error())
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("%d of %d changes failed: %s", len(refused), len(ids), shortened(strings.Join(refused, "; ")))
	}
	return nil
}
