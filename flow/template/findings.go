package template

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
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

// checkCounts returns what is more, or longer, than the limits in a body that has not been read yet.
func checkCounts(whole raw.Object) Violations {
	f := newFindings(nil)
	checkCount(f, "roles", whole["roles"], raw.KindArray, spec.MaxRoles)
	checkCount(f, "networks", whole["networks"], raw.KindObject, spec.MaxNetworks)
	checkCount(f, "networks_values", whole["networks_values"], raw.KindArray, spec.MaxNetworks)
	for _, attribute := range []string{"user_inputs", "user_inputs_values", "custom_attrs", "custom_attrs_values"} {
		checkCount(f, attribute, whole[attribute], raw.KindObject, spec.MaxInputs)
	}
	if len(f.violations) > 0 {
		return f.violations
	}
	schedules := 0
	for i, role := range raw.Objects(whole["roles"]) {
		path := fmt.Sprintf("roles[%d].", i)
		checkCount(f, path+"parents", role["parents"], raw.KindArray, spec.MaxRoles)
		checkCount(f, path+"elasticity_policies", role["elasticity_policies"], raw.KindArray, spec.MaxPolicies)
		checkCount(f, path+"scheduled_policies", role["scheduled_policies"], raw.KindArray, spec.MaxPolicies)
		if raw.KindOf(role["scheduled_policies"]) == raw.KindArray {
			schedules += raw.Count(role["scheduled_policies"])
		}
		checkCount(f, path+"user_inputs", role["user_inputs"], raw.KindObject, spec.MaxInputs)
		checkCount(f, path+"user_inputs_values", role["user_inputs_values"], raw.KindObject, spec.MaxInputs)
		if name := raw.Text(role["name"]); utf8.RuneCountInString(name) > spec.MaxName {
			f.add(path+"name", "has more than %d characters", spec.MaxName)
		}
	}
	if schedules > spec.MaxSchedules {
		f.add("roles", "have %d scheduled policies together; at most %d are possible", schedules, spec.MaxSchedules)
	}
	return f.violations
}

// checkCount holds an array to so many elements, or an object to so many attributes with names of at most MaxName
// characters. Anything else than what is wanted is a matter for its rule.
func checkCount(f *findings, path string, value json.RawMessage, want raw.Kind, most int) {
	if raw.KindOf(value) != want {
		return
	}
	if count := raw.Count(value); count > most {
		f.add(path, "has %d %s; at most %d are possible", count, map[raw.Kind]string{raw.KindArray: "elements", raw.KindObject: "attributes"}[want], most)
		return
	}
	if want == raw.KindArray {
		return
	}
	for name := range raw.Attributes(value) {
		if utf8.RuneCountInString(name) > spec.MaxName {
			f.add(path, "has a name of more than %d characters", spec.MaxName)
		}
	}
}
