package flow

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Violation is one thing wrong with a template.
type Violation struct {
	// Path is where, as in "roles[1].elasticity_policies[0].expression"; empty
	// for the whole.
	Path string `json:"path"`
	// Message says what is wrong and where: it begins with the path and the
	// role's name, and can be read by itself.
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

// ReadTemplate reads a new service template as clients send it: normalise,
// then Validate. The error is a Violations with everything that is wrong, or a
// *SyntaxError. A body that oned holds already is changed with ReplaceTemplate
// and AppendTemplate.
func ReadTemplate(text []byte, now time.Time) (Body, error) {
	whole, err := readObject(text)
	if err != nil {
		return Body{}, err
	}
	return readTemplate(whole, now)
}

// readTemplate reads a template. One in the form of OneFlow 6 may leave it to who instantiates
// it which networks there are.
func readTemplate(whole object, registered time.Time) (Body, error) {
	return readAgainst(whole, declarations{open: isOld(whole) && len(whole["networks"]) == 0 && len(whole["networks_values"]) == 0}, registered)
}

// declarations are what the roles of a body may refer to beside what it declares itself.
type declarations struct {
	names []string
	// open lets them refer to anything.
	open bool
}

func readAgainst(whole object, declared declarations, registered time.Time) (Body, error) {
	if found := checkCounts(whole); found != nil {
		return Body{}, found
	}
	body, found := normalise(whole, registered)
	found.addOthers(validate(body, declared))
	return body, found.err()
}

// Validate returns everything that is wrong with a template's or a service's
// body, nil if nothing is.
func Validate(body Body) Violations { return validate(body, declarations{}) }

func validate(body Body, declared declarations) Violations {
	found := newFindings(roleNames(body.Roles))
	policies := readPolicies(body.Roles)
	checkShape(found, body, policies)
	checkRoleNames(found, body.Roles)
	checkParents(found, body.Roles)
	contents := newContentsRule(found, body, declared)
	for i, role := range body.Roles {
		checkLimits(found, fmt.Sprintf("roles[%d]", i), role)
		checkPolicies(found, fmt.Sprintf("roles[%d]", i), policies[i])
		checkHeal(found, fmt.Sprintf("roles[%d]", i), role)
		checkDeadlines(found, fmt.Sprintf("roles[%d].deadlines", i), role.Deadlines)
		checkVictims(found, fmt.Sprintf("roles[%d].victims", i), role.Victims)
		checkRouter(found, fmt.Sprintf("roles[%d]", i), role)
		contents.check(fmt.Sprintf("roles[%d]", i), role)
		checkInputs(found, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	checkDeadlines(found, "deadlines", body.Deadlines)
	checkInputs(found, "", body.UserInputs, body.UserInputsValues)
	checkSize(found, body.Roles)
	checkNetworks(found, body)
	checkWebhooks(found, body)
	return found.violations
}

func roleNames(roles []Role) []string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = role.Name
	}
	return names
}

// findings collects violations, one for each path.
type findings struct {
	roles      []string
	violations Violations
	seen       map[string]bool
}

func newFindings(roles []string) *findings {
	return &findings{roles: roles, seen: map[string]bool{}}
}

// add notes what is wrong at a path ("is missing"); the message begins with it. The first violation of a path hides the later ones,
// which are mostly its consequences.
func (f *findings) add(path, format string, arguments ...any) {
	if f.full() {
		return
	}
	message := f.describe(path) + ": " + fmt.Sprintf(format, arguments...)
	f.addOthers(Violations{{Path: path, Message: message}})
}

func (f *findings) addOthers(others Violations) {
	for _, violation := range others {
		if !f.full() && !f.hides(violation.Path) {
			f.seen[violation.Path] = true
			f.violations = append(f.violations, violation)
		}
	}
}

// full reports whether so much is wrong that no more needs to be found.
func (f *findings) full() bool { return len(f.violations) >= maxViolations }

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

// describe is a path for people, who know roles by their names and not by their
// places: roles[1].cardinality (role "Slave").
func (f *findings) describe(path string) string {
	if path == "" {
		return "the body"
	}
	parts := rolePath.FindStringSubmatch(path)
	if parts == nil {
		return path
	}
	if name := f.roleName(parts[1]); name != "" {
		return path + " (role " + name + ")"
	}
	return path
}

// roleName is a role's name in quotes; empty if it has none.
func (f *findings) roleName(index string) string {
	i, err := strconv.Atoi(index)
	if err != nil || i >= len(f.roles) || f.roles[i] == "" {
		return ""
	}
	return strconv.Quote(shown(f.roles[i]))
}
