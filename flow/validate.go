package flow

import (
	"fmt"
	"time"
)

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
		found.addWrong(rolePathOf(i, "heal"), checkHeal(&role))
		found.addWrong(rolePathOf(i, "deadlines"), checkDeadlines(role.Deadlines))
		found.addWrong(rolePathOf(i, "victims"), checkVictims(role.Victims))
		checkRouter(found, fmt.Sprintf("roles[%d]", i), role)
		contents.check(fmt.Sprintf("roles[%d]", i), role)
		checkInputs(found, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	found.addWrong("deadlines", checkDeadlines(body.Deadlines))
	checkInputs(found, "", body.UserInputs, body.UserInputsValues)
	checkSize(found, body.Roles)
	checkNetworks(found, body)
	if _, err := readWebhooks(body.Extra[WebhooksAttribute]); err != nil {
		found.add(WebhooksAttribute, "%v", err)
	}
	return found.violations
}
