// Package template reads what clients send: service templates, changes of them and of services, and roles that are
// added. Each goes the same way: read, compare with the limits, normalise into the form of package spec, validate.
// The errors are Violations, which name everything that is wrong, a *SyntaxError, or an *ImmutableError.
package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Read reads a new service template as clients send it: normalise, then Validate. The error is a Violations with
// everything that is wrong, or a *SyntaxError. A body that oned holds already is changed with Replace and Append.
func Read(text []byte, now time.Time) (spec.Body, error) {
	whole, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	return readTemplate(whole, now)
}

// readTemplate reads a template. One in the form of OneFlow 6 may leave it to who instantiates
// it which networks there are.
func readTemplate(whole raw.Object, registered time.Time) (spec.Body, error) {
	open := isOld(whole) && len(whole["networks"]) == 0 && len(whole["networks_values"]) == 0
	return readAgainst(whole, nil, open, registered)
}

// readAgainst reads a body whose roles may refer to those that are declared beside what it declares itself, or to anything.
func readAgainst(whole raw.Object, declared []string, open bool, registered time.Time) (spec.Body, error) {
	if found := checkCounts(whole); found != nil {
		return spec.Body{}, found
	}
	body, found := normalise(whole, registered)
	found.addOthers(validate(body, declared, open))
	return body, found.err()
}

// Validate returns everything that is wrong with a template's or a service's body, nil if nothing is.
func Validate(body spec.Body) Violations { return validate(body, nil, false) }

func validate(body spec.Body, declared []string, open bool) Violations {
	found := newFindings(spec.RoleNames(body.Roles))
	policies := readPolicies(body.Roles)
	checkShape(found, body, policies)
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

// ImmutableError is an attempt to change what cannot be changed.
type ImmutableError struct {
	Attribute string
	// Live reports whether it is a running service's and not a template's.
	Live bool
	// Instead is what does change it, if anything does.
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

// Replace reads a body that is to take the place of a template's body as oned holds it. The error is a Violations, a
// *SyntaxError or an *ImmutableError.
func Replace(held, text []byte, now time.Time) (spec.Body, error) {
	replacement, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	// What oned holds may be unreadable: replacing it is then the mend.
	old, err := readObject(held)
	if err != nil {
		old = raw.Object{}
	}
	return change(old, replacement, now)
}

// Append reads attributes that are to be set in a template's body as
// oned holds it; the others stay. The errors are Replace's.
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
	// It stays in the form that it has: of OneFlow 6, or without what is left out.
	if body, err = spec.ParseBody(text); err != nil {
		return spec.Body{}, err
	}
	body.RegistrationTime = registered.Unix()
	return body, nil
}

// registrationTime is when a template was registered; now for one that does not say.
func registrationTime(template raw.Object, now time.Time) time.Time {
	var seconds int64
	if json.Unmarshal(template["registration_time"], &seconds) != nil || seconds <= 0 {
		return now
	}
	return time.Unix(seconds, 0)
}

// MaxNesting is how deep objects and arrays may be nested in what clients send. OneFlow's own documents need about ten.
const MaxNesting = 64

// SyntaxError is a text that is not the JSON object that was asked for.
type SyntaxError struct{ Reason string }

// Error says what is wrong with the text, and where.
func (e *SyntaxError) Error() string { return e.Reason }

// readObject reads a text that has to be one JSON object.
func readObject(text []byte) (raw.Object, error) {
	if err := CheckNesting(text); err != nil {
		return nil, err
	}
	var whole raw.Object
	err := json.Unmarshal(text, &whole)
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

// CheckNesting refuses texts that are nested deeper than MaxNesting, without
// reading them. It says nothing about texts that are not JSON.
func CheckNesting(text []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return &SyntaxError{Reason: fmt.Sprintf("the body is nested deeper than %d levels (byte %d)", MaxNesting, i+1)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
