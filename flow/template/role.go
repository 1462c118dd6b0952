package template

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// ReadRole reads a role as clients write it, as an object or as a text that
// holds one, against the service that it comes to.
func ReadRole(text json.RawMessage, held spec.Body, now time.Time) (spec.Role, error) {
	if raw.KindOf(text) == raw.KindText {
		text = json.RawMessage(raw.Text(text))
	}
	given, err := readObject(text)
	if err != nil {
		return spec.Role{}, err
	}
	name := raw.Text(given["name"])
	roles := []json.RawMessage{given.JSON()}
	for _, other := range held.Roles {
		if other.Name != name {
			roles = append(roles, raw.Marshal(map[string]any{"name": other.Name, "type": spec.RoleTypeVM, "template_id": 0}))
		}
	}
	declared := slices.Concat(networkNames(held), spec.InputNames(held.Extra, held.UserInputs, held.UserInputsValues))
	body, err := readAgainst(raw.Object{"name": json.RawMessage(`"service"`), "roles": raw.Marshal(roles)}, declarations{names: declared}, now)
	if err != nil {
		return spec.Role{}, ofRole(err)
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
