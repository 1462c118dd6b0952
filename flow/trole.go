package flow

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// readRole reads a role as clients write it, as an object or as a text that
// holds one, against the service that it comes to.
func readRole(text json.RawMessage, held Body, now time.Time) (Role, error) {
	if kindOf(text) == kindText {
		text = json.RawMessage(textOf(text))
	}
	given, err := readObject(text)
	if err != nil {
		return Role{}, err
	}
	name := textOf(given["name"])
	roles := []json.RawMessage{given.text()}
	for _, other := range held.Roles {
		if other.Name != name {
			roles = append(roles, mustMarshal(map[string]any{"name": other.Name, "type": RoleTypeVM, "template_id": 0}))
		}
	}
	declared := slices.Concat(networkNames(held), inputNames(held.Extra, held.UserInputs, held.UserInputsValues))
	body, err := readAgainst(object{"name": json.RawMessage(`"service"`), "roles": mustMarshal(roles)}, declarations{names: declared}, now)
	if err != nil {
		return Role{}, ofRole(err)
	}
	_ = chooseInputs(&body) // what has no value is not asked for here, as with OneFlow
	return body.Roles[0], nil
}

// ofRole tells what is wrong with a role that came alone by its own paths:
// role.type, where readTemplate says roles[0].type.
func ofRole(err error) error {
	var wrong Violations
	if !errors.As(err, &wrong) {
		return err
	}
	const alone, first = "role", "roles[0]"
	told := slices.Clone(wrong)
	for i, violation := range told {
		if rest, found := strings.CutPrefix(violation.Path, first); found {
			told[i] = Violation{Path: alone + rest, Message: strings.Replace(violation.Message, first, alone, 1)}
		}
	}
	return told
}
