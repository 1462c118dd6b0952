package flow

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// quotedContext is a CONTEXT that oned cannot read, as it repeats it in its refusal.
var quotedContext = regexp.MustCompile(`(?s)(Error parsing): .*(syntax error)`)

// withoutSecrets is what oned said of what was made for a role, without the values of the role's
// inputs of type password: it repeats what it does not understand, and what it says is logged.
func (s Service) withoutSecrets(role, message string) string {
	message = quotedContext.ReplaceAllString(message, "$1 CONTEXT: $2")
	for _, secret := range s.secrets(role) {
		message = strings.ReplaceAll(message, secret, "***")
	}
	return message
}

// secrets are the values of the inputs of type password that a role has, longest first.
func (s Service) secrets(role string) []string {
	var found []string
	add := func(extra map[string]json.RawMessage, declared, given json.RawMessage) {
		for _, inputs := range []json.RawMessage{extra["custom_attrs"], declared} {
			for name, declaration := range attributesOf(inputs) {
				if parseInput(declaration).kind != "password" {
					continue
				}
				for _, values := range inputValues(extra, given) {
					if value := plainText(attributesOf(values)[name]); value != "" {
						found = append(found, value)
					}
				}
			}
		}
	}
	body := s.Body
	add(body.Extra, body.UserInputs, body.UserInputsValues)
	if held := s.role(role); held != nil {
		add(held.Extra, held.UserInputs, held.UserInputsValues)
	}
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	return found
}
