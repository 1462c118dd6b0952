// Package template reads clients' input: service templates, changes of them and of services, and roles that are added. Each goes the same
// way: read, compare with the limits, normalise into the form of package spec, validate. The errors are Violations, which name everything
// that is wrong, a *SyntaxError, or an *ImmutableError.
package template

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Read reads a new service template as clients send it: normalise, then Validate. The error is a Violations with everything that is wrong,
// or a *SyntaxError. A body that oned holds already is changed with Replace and Append.
func Read(text []byte, now time.Time) (spec.Body, error) {
	whole, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	return readTemplate(whole, now)
}

// readTemplate reads a template. In the form of OneFlow 6 it may leave the networks to the user who instantiates it.
func readTemplate(whole raw.Object, registered time.Time) (spec.Body, error) {
	open := isOld(whole) && len(whole["networks"]) == 0 && len(whole["networks_values"]) == 0
	if found := checkCounts(whole); found != nil {
		return spec.Body{}, found
	}
	given := nullsOf(whole)
	body, found := normalise(whole, registered)
	found.addOthers(validate(body, nil, open))
	err := found.err()
	if err == nil {
		given.keep(&body)
	}
	return body, err
}

// nulls are the attributes that are null in a template and its roles: they count as absent, but the template shows them as OneFlow does.
// Otherwise Terraform, which writes null for what a module leaves open, would change the template for ever.
type nulls struct {
	body  []string
	roles [][]string
}

func nullsOf(whole raw.Object) (given nulls) {
	of := func(o raw.Object, rules map[string]rule) (names []string) {
		for name := range rules {
			if value, has := o[name]; has && raw.KindOf(value) == raw.KindNull {
				names = append(names, name)
			}
		}
		return names
	}
	given.body = of(whole, bodyRules)
	for _, role := range raw.Objects(whole["roles"]) {
		given.roles = append(given.roles, of(role, roleRules))
	}
	return given
}

// keep restores the attributes that the body has lost.
func (n nulls) keep(body *spec.Body) {
	if len(n.body) == 0 && !slices.ContainsFunc(n.roles, func(names []string) bool { return len(names) > 0 }) {
		return
	}
	put := func(names []string, written raw.Object, extra *map[string]json.RawMessage) {
		for _, name := range names {
			if _, has := written[name]; has {
				continue
			}
			if *extra == nil {
				*extra = map[string]json.RawMessage{}
			}
			(*extra)[name] = json.RawMessage("null")
		}
	}
	written := raw.Attributes(raw.Marshal(*body))
	put(n.body, written, &body.Extra)
	for i, role := range raw.Objects(written["roles"]) {
		put(n.roles[i], role, &body.Roles[i].Extra)
	}
}

// Validate returns everything that is wrong with a template's or a service's body, nil if nothing is.
func Validate(body spec.Body) Violations { return validate(body, nil, false) }

func validate(body spec.Body, declared []string, open bool) Violations {
	found := newFindings(spec.RoleNames(body.Roles))
	policies := readPolicies(body.Roles)
	checkFields(found, body, policies)
	first := map[string]int{}
	for i, role := range body.Roles {
		if earlier, taken := first[role.Name]; taken {
			found.add(rolePathOf(i, "name"), "is also the name of role number %d; every role needs a unique name", earlier)
		} else if role.Name != "" {
			first[role.Name] = i
		}
	}
	checkParents(found, body.Roles)
	contents := contentsRule{findings: found, declared: map[string]bool{}, networks: networkNames(body), open: open}
	for _, name := range slices.Concat(declared, contents.networks, body.Inputs().Names()) {
		contents.declared[name] = true
	}
	for i, role := range body.Roles {
		path := fmt.Sprintf("roles[%d]", i)
		checkLimits(found, path, role)
		checkPolicies(found, path, policies[i])
		_, _, wrong := policy.HealRuleOf(&role)
		found.addWrong(path+".heal", wrong)
		_, wrong = policy.ReadDeadlines(role.Deadlines, policy.Deadlines{})
		found.addWrong(path+".deadlines", wrong)
		found.addWrong(path+".victims", policy.CheckVictims(role.Victims))
		checkRouter(found, path, role)
		contents.check(path, role)
		checkInputs(found, path+".", role.UserInputs, role.UserInputsValues)
	}
	_, wrong := policy.ReadDeadlines(body.Deadlines, policy.Deadlines{})
	found.addWrong("deadlines", wrong)
	checkInputs(found, "", body.UserInputs, body.UserInputsValues)
	total := 0
	for i, role := range body.Roles {
		if role.Cardinality > spec.MaxVMs {
			found.add(rolePathOf(i, "cardinality"), "is %d; at most %d VMs are possible", role.Cardinality, spec.MaxVMs)
			break
		}
		if total += role.Cardinality; total > spec.MaxVMs {
			found.add("roles", "have more than %d VMs together; that is the maximum", spec.MaxVMs)
			break
		}
	}
	checkNetworks(found, body)
	if _, err := spec.ReadWebhooks(body); err != nil {
		found.add(spec.WebhooksAttribute, "%v", err)
	}
	return found.violations
}

// ImmutableError is returned for an attempt to change an attribute that cannot be changed.
type ImmutableError struct {
	Attribute string
	// Live is whether it is a running service's and not a template's.
	Live bool
	// Instead is the way to change it, if there is one.
	Instead string
}

// Error names the attribute.
func (e *ImmutableError) Error() string {
	if e.Live && e.Instead != "" {
		return fmt.Sprintf("%q cannot be changed by an update; %s", e.Attribute, e.Instead)
	}
	if e.Live {
		return fmt.Sprintf("%q cannot be changed in a running service; omit it", e.Attribute)
	}
	return fmt.Sprintf("%q cannot be changed after the template was created; omit it", e.Attribute)
}

// Replace reads a body that is to replace a template's body as oned holds it. The error is a Violations, a *SyntaxError or an
// *ImmutableError.
func Replace(held, text []byte, now time.Time) (spec.Body, error) {
	replacement, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	// oned's body may be unreadable: replacing it repairs that.
	old, err := readObject(held)
	if err != nil {
		old = raw.Object{}
	}
	return change(old, replacement, now)
}

// Append reads attributes that are to be set in a template's body as oned holds it; the others stay. The errors are Replace's.
func Append(held, text []byte, now time.Time) (spec.Body, error) {
	addition, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	old, err := readObject(held)
	if err != nil {
		return spec.Body{}, fmt.Errorf("read the template: %w", err)
	}
	merged := maps.Clone(old)
	maps.Copy(merged, addition)
	return change(old, merged, now)
}

func change(old, replacement raw.Object, now time.Time) (spec.Body, error) {
	const attribute = "registration_time"
	was, given := old[attribute], replacement[attribute]
	if len(was) > 0 && len(given) > 0 && !raw.Equal(was, given) {
		return spec.Body{}, &ImmutableError{Attribute: attribute}
	}
	registered := registrationTime(old, now)
	kept, text := isOld(old) && isOld(replacement), replacement.JSON()
	if raw.Equal(old.JSON(), text) {
		kept = true
	}
	body, err := readTemplate(replacement, registered)
	if err != nil || !kept {
		return body, err
	}
	// It keeps its form: of OneFlow 6, or without defaults.
	absent := nullsOf(raw.Attributes(text))
	if body, err = spec.ParseBody(text); err != nil {
		return spec.Body{}, err
	}
	absent.keep(&body)
	body.RegistrationTime = registered.Unix()
	return body, nil
}

// registrationTime returns when a template was registered; now if it does not say.
func registrationTime(template raw.Object, now time.Time) time.Time {
	var seconds int64
	if json.Unmarshal(template["registration_time"], &seconds) != nil || seconds <= 0 {
		return now
	}
	return time.Unix(seconds, 0)
}

// MaxNesting is how deep objects and arrays may be nested in clients' input. OneFlow's own documents need about ten.
const MaxNesting = 64

// SyntaxError is returned for a text that is not a JSON object.
type SyntaxError struct{ Reason string }

// Error returns what is wrong with the text, and where.
func (e *SyntaxError) Error() string { return e.Reason }

func readObject(text []byte) (raw.Object, error) {
	if _, err := CheckNesting(text); err != nil {
		return nil, err
	}
	var whole raw.Object
	err := json.Unmarshal(bytes.ToValidUTF8(text, []byte("\uFFFD")), &whole) // as it is written and shown
	var syntax *json.SyntaxError
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &SyntaxError{Reason: "the body is empty; it must be a JSON object"}
	case errors.As(err, &syntax):
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is not JSON: %v (byte %d)", syntax, syntax.Offset)}
	case err != nil || whole == nil:
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is %s; it must be a JSON object", raw.KindOf(text))}
	}
	return whole, nil
}

// CheckNesting refuses texts that are nested deeper than MaxNesting, without parsing them, and returns about how many blanks their indentation has in
// a list of documents. It ignores whether they are JSON at all.
func CheckNesting(text []byte) (blanks int, err error) {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return 0, &SyntaxError{Reason: fmt.Sprintf("the body is nested deeper than %d levels (byte %d)", MaxNesting, i+1)}
			}
		case c == '}' || c == ']':
			depth--
		}
		if !inText && strings.IndexByte("{[,]}", c) >= 0 {
			blanks += 12 + 2*depth // 12 of the list
		}
	}
	return blanks, nil
}

// Violation is one thing wrong with a template.
type Violation struct {
	// Path is the attribute's path, as in "roles[1].elasticity_policies[0].expression"; empty for the whole.
	Path string `json:"path"`
	// Message says what is wrong and where: it begins with the path and the role's name, and can be read by itself.
	Message string `json:"message"`
}

// Violations are everything that is wrong with a template.
type Violations []Violation

// Error returns one line for each violation; the first line says how many follow.
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

// add records what is wrong at a path ("is missing"). The message begins with the path and the role's name, as people know roles by their
// names and not by their indexes: roles[1].cardinality (role "Slave"). The first violation of a path hides the later ones, which are mostly
// its consequences.
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

// hides reports whether the path, or a parent of it, has a violation.
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

func rolePathOf(role int, attribute string) string {
	return fmt.Sprintf("roles[%d].%s", role, attribute)
}

// checkCounts returns what exceeds the limits in a body that has not been parsed yet.
func checkCounts(whole raw.Object) Violations {
	f := newFindings(nil)
	checkCount(f, "roles", whole["roles"], raw.KindArray, spec.MaxRoles)
	checkCount(f, "networks", whole["networks"], raw.KindObject, spec.MaxNetworks)
	checkCount(f, "networks_values", whole["networks_values"], raw.KindArray, spec.MaxNetworks)
	for _, attribute := range []string{"user_inputs", "user_inputs_values", "custom_attrs", "custom_attrs_values"} {
		checkCount(f, attribute, whole[attribute], raw.KindObject, spec.MaxInputs)
	}
	if raw.KindOf(whole["roles"]) == raw.KindArray && raw.Count(whole["roles"]) > spec.MaxRoles {
		return f.violations // too many roles are not read one by one
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

// checkCount limits the elements of an array, or the attributes of an object with names of at most MaxName characters. A value of another
// kind is a matter for its rule.
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
