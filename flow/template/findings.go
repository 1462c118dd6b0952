package template

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
)

// Violation is one thing wrong with a template.
type Violation struct {
	// Path is where, as in "roles[1].elasticity_policies[0].expression"; empty for the whole.
	Path string `json:"path"`
	// Message says what is wrong and where: it begins with the path and the role's name, and can be read by itself.
	Message string `json:"message"`
}

// Violations are everything that is wrong with a template.
type Violations []Violation

// Error is one line a violation; the first line says how many follow.
func (v Violations) Error() string {
	if len(v) == 0 {
		return "nothing is wrong"
	}
	var text strings.Builder
	text.WriteString(v[0].Message)
	if more := len(v) - 1; more > 0 {
		fmt.Fprintf(&text, " (and %d more)", more)
	}
	for _, violation := range v[1:] {
		text.WriteString("\n" + violation.Message)
	}
	return text.String()
}

// maxViolations is how many mistakes are reported at a time.
const maxViolations = 100

// findings collects violations, one for each path.
type findings struct {
	roles      []string
	violations Violations
	seen       map[string]bool
}

func newFindings(roles []string) *findings {
	return &findings{roles: roles, seen: map[string]bool{}}
}

// add notes what is wrong at a path ("is missing"). The message begins with the path, for people
// who know roles by their names and not by their places: roles[1].cardinality (role "Slave").
// The first violation of a path hides the later ones, which are mostly its consequences.
func (f *findings) add(path, format string, arguments ...any) {
	if len(f.violations) >= maxViolations {
		return
	}
	where := cmp.Or(path, "the body")
	if parts := rolePath.FindStringSubmatch(path); parts != nil {
		if i, err := strconv.Atoi(parts[1]); err == nil && i < len(f.roles) && f.roles[i] != "" {
			where += " (role " + strconv.Quote(raw.Shown(f.roles[i])) + ")"
		}
	}
	f.addOthers(Violations{{Path: path, Message: where + ": " + fmt.Sprintf(format, arguments...)}})
}

// addWrong notes what is wrong at a path, if anything is.
func (f *findings) addWrong(path, wrong string) {
	if wrong != "" {
		f.add(path, "%s", wrong)
	}
}

func (f *findings) addOthers(others Violations) {
	for _, violation := range others {
		if len(f.violations) < maxViolations && !f.hides(violation.Path) {
			f.seen[violation.Path] = true
			f.violations = append(f.violations, violation)
		}
	}
}

// hides reports whether the path, or what it is in, has a violation.
func (f *findings) hides(path string) bool {
	for end := len(path); end > 0; end = strings.LastIndexAny(path[:end], ".[") {
		if f.seen[path[:end]] {
			return true
		}
	}
	return false
}

func (f *findings) err() error {
	if len(f.violations) == 0 {
		return nil
	}
	return f.violations
}

var rolePath = regexp.MustCompile(`^roles\[(\d+)\](\..+)?$`)

// rolePathOf is the path of a role's attribute.
func rolePathOf(role int, attribute string) string {
	return fmt.Sprintf("roles[%d].%s", role, attribute)
}
