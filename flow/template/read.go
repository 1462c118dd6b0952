package template

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Read reads a new service template as clients send it: normalise,
// then Validate. The error is a Violations with everything that is wrong, or a
// *SyntaxError. A body that oned holds already is changed with Replace
// and Append.
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
	return readAgainst(whole, declarations{open: isOld(whole) && len(whole["networks"]) == 0 && len(whole["networks_values"]) == 0}, registered)
}

// declarations are what the roles of a body may refer to beside what it declares itself.
type declarations struct {
	names []string
	// open lets them refer to anything.
	open bool
}

func readAgainst(whole raw.Object, declared declarations, registered time.Time) (spec.Body, error) {
	if found := checkCounts(whole); found != nil {
		return spec.Body{}, found
	}
	body, found := normalise(whole, registered)
	found.addOthers(validate(body, declared))
	return body, found.err()
}

// Validate returns everything that is wrong with a template's or a service's
// body, nil if nothing is.
func Validate(body spec.Body) Violations { return validate(body, declarations{}) }

func validate(body spec.Body, declared declarations) Violations {
	found := newFindings(spec.RoleNames(body.Roles))
	policies := readPolicies(body.Roles)
	checkShape(found, body, policies)
	checkRoleNames(found, body.Roles)
	checkParents(found, body.Roles)
	contents := newContentsRule(found, body, declared)
	for i, role := range body.Roles {
		checkLimits(found, fmt.Sprintf("roles[%d]", i), role)
		checkPolicies(found, fmt.Sprintf("roles[%d]", i), policies[i])
		found.addWrong(rolePathOf(i, "heal"), policy.CheckHeal(&role))
		found.addWrong(rolePathOf(i, "deadlines"), policy.CheckDeadlines(role.Deadlines))
		found.addWrong(rolePathOf(i, "victims"), policy.CheckVictims(role.Victims))
		checkRouter(found, fmt.Sprintf("roles[%d]", i), role)
		contents.check(fmt.Sprintf("roles[%d]", i), role)
		checkInputs(found, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	found.addWrong("deadlines", policy.CheckDeadlines(body.Deadlines))
	checkInputs(found, "", body.UserInputs, body.UserInputsValues)
	checkSize(found, body.Roles)
	checkNetworks(found, body)
	if _, err := spec.ReadWebhooks(body.Extra[spec.WebhooksAttribute]); err != nil {
		found.add(spec.WebhooksAttribute, "%v", err)
	}
	return found.violations
}
