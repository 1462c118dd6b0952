package sim_test

import (
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

var (
	routeOfPage = regexp.MustCompile("(?m)^\\| `((?:GET|POST|DELETE) /\\S*)` \\|(.*)$")
	query       = regexp.MustCompile(`\?.*`)
	nothingToDo = regexp.MustCompile(`is nothing to do to [^:]*: ([a-z, ]+)`)
)

// TestThePageListsTheControlAPI holds docs/simulator.md against the routes, and what it
// names for {what} against what each takes.
func TestThePageListsTheControlAPI(t *testing.T) {
	page, err := os.ReadFile("../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	for _, row := range routeOfPage.FindAllStringSubmatch(string(page), -1) {
		described[query.ReplaceAllString(row[1], "")] = row[2]
	}
	simulated := start(t, sim.Config{})
	routes := simulated.ControlRoutes()
	if want, got := routes, slices.Sorted(maps.Keys(described)); !slices.Equal(want, got) {
		t.Errorf("the control API has the routes %q, and docs/simulator.md has %q", want, got)
	}
	for _, pattern := range routes {
		if !strings.HasSuffix(pattern, "{what}") {
			continue
		}
		_, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{id}", "0", "{what}", "nothing").Replace(path)
		answer, err := http.Post(simulated.ControlURL()+path, "application/json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		refusal, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		known := nothingToDo.FindStringSubmatch(string(refusal))
		if err != nil || known == nil {
			t.Errorf("%s refuses what it does not know with %s (%v)", path, refusal, err)
			continue
		}
		for what := range strings.SplitSeq(known[1], ", ") {
			if !strings.Contains(described[pattern], "`"+what+"`") {
				t.Errorf("docs/simulator.md does not have %q of %s", what, pattern)
			}
		}
	}
}
