package spec

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
)

// UserInput is what a template says of a value that is asked for when it is instantiated:
// "O|number|memory in MB| |512".
type UserInput struct {
	Optional bool
	kind     string
	Initial  string
}

// ParseInput reads a declaration. One that cannot be read is mandatory, as with OneFlow.
func ParseInput(declaration json.RawMessage) UserInput {
	const kind, initial = 1, 4
	parts := strings.SplitN(raw.Text(declaration), "|", initial+1)
	input := UserInput{Optional: strings.TrimSpace(parts[0]) == "O"}
	if len(parts) > kind {
		input.kind = strings.TrimSpace(parts[kind])
	}
	if len(parts) > initial {
		input.Initial = strings.TrimSpace(parts[initial])
	}
	return input
}

// Value is the default as the commands of OpenNebula send it, empty if there is none.
func (u UserInput) Value() string {
	if u.kind == "text64" {
		return base64.StdEncoding.EncodeToString([]byte(u.Initial))
	}
	return u.Initial
}

// InputValues are the values of a body's or a role's user inputs, those that OneFlow 6 called custom_attrs first.
func InputValues(extra map[string]json.RawMessage, values json.RawMessage) []json.RawMessage {
	return []json.RawMessage{extra["custom_attrs_values"], values}
}

// InputNames are the names of user inputs that are declared or have values.
func InputNames(extra map[string]json.RawMessage, declared, values json.RawMessage) []string {
	var names []string
	for _, inputs := range []json.RawMessage{extra["custom_attrs"], declared, extra["custom_attrs_values"], values} {
		names = slices.AppendSeq(names, maps.Keys(raw.Attributes(inputs)))
	}
	return names
}

// sealedExtra are the attributes of OneFlow 6 that hold user inputs, their values, and contents.
var sealedExtra = []string{"custom_attrs", "custom_attrs_values", "vm_template_contents"}

// sealPrefix is what all that internal/seal has sealed begins with.
const sealPrefix = "sealed:"

// Sealed is the body with everything that a user may have put a secret into, or that was made of it, replaced by what
// seal makes of it: user inputs, which may have a password as default, their values, and the roles' template_contents.
func (b Body) Sealed(seal func([]byte) string) Body {
	sealed, _ := b.withSecrets(func(value json.RawMessage) (json.RawMessage, error) {
		if len(value) <= len(`{}`) {
			return value, nil
		}
		return raw.Marshal(seal(value)), nil
	})
	return sealed
}

// Opened is the body that was sealed. The error is open's.
func (b Body) Opened(open func(string) ([]byte, error)) (Body, error) {
	return b.withSecrets(func(value json.RawMessage) (json.RawMessage, error) {
		if text := raw.Text(value); strings.HasPrefix(text, sealPrefix) {
			return open(text)
		}
		return value, nil // too short, or stored by a version that sealed no texts
	})
}

func (b Body) withSecrets(change func(json.RawMessage) (json.RawMessage, error)) (Body, error) {
	var err error
	changed := func(value json.RawMessage) json.RawMessage {
		if len(value) == 0 || err != nil {
			return value
		}
		var into json.RawMessage
		if into, err = change(value); err != nil {
			return value
		}
		return into
	}
	extra := func(attributes map[string]json.RawMessage) map[string]json.RawMessage {
		for _, name := range sealedExtra {
			if value, has := attributes[name]; has {
				attributes = maps.Clone(attributes)
				attributes[name] = changed(value)
			}
		}
		return attributes
	}
	b.UserInputs = changed(b.UserInputs)
	b.UserInputsValues = changed(b.UserInputsValues)
	b.Extra = extra(b.Extra)
	b.Roles = slices.Clone(b.Roles)
	for role := range b.EachRole() {
		role.UserInputs = changed(role.UserInputs)
		role.UserInputsValues = changed(role.UserInputsValues)
		role.TemplateContents = changed(role.TemplateContents)
		role.Extra = extra(role.Extra)
		if role.old != nil {
			role.old = &oldRole{typed: role.old.typed, contents: oldContents(role.Extra)}
		}
	}
	return b, err
}

// quotedContext is a CONTEXT that oned cannot read, as it repeats it in its refusal.
var quotedContext = regexp.MustCompile(`(?s)(Error parsing): .*(syntax error)`)

// WithoutSecrets is what oned said of what was made for a role, without the values of the role's
// inputs of type password: it repeats what it does not understand, and what it says is logged.
func (s Service) WithoutSecrets(role, message string) string {
	var found []string
	add := func(extra map[string]json.RawMessage, declared, given json.RawMessage) {
		for _, inputs := range []json.RawMessage{extra["custom_attrs"], declared} {
			for name, declaration := range raw.Attributes(inputs) {
				if ParseInput(declaration).kind != "password" {
					continue
				}
				for _, values := range InputValues(extra, given) {
					if value := raw.Plain(raw.Attributes(values)[name]); value != "" {
						found = append(found, value)
					}
				}
			}
		}
	}
	add(s.Body.Extra, s.Body.UserInputs, s.Body.UserInputsValues)
	if held := s.Role(role); held != nil {
		add(held.Extra, held.UserInputs, held.UserInputsValues)
	}
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	var hidden []string
	for _, secret := range found {
		hidden = append(hidden, secret, "***")
	}
	message = quotedContext.ReplaceAllString(message, "$1 CONTEXT: $2")
	return strings.NewReplacer(hidden...).Replace(message) // once: *** may be a secret too
}
