package flow

import (
	"fmt"
	"strconv"
)

// KeyAttribute is the user-template attribute that carries an intent's key.
const KeyAttribute = "FLOWJET_KEY"

// NeedsTemplate reports whether something is merged into a role's VM template, which
// has to be read for that, and which it is.
func NeedsTemplate(service Service, role string) (id int, needed bool) {
	held := service.role(role)
	if held == nil || len(attributesOf(held.TemplateContents)) == 0 {
		return 0, false
	}
	return held.TemplateID, true
}

// ExtraTemplate is the template text that a VM is instantiated with, over its
// VM template. Base is that template, needed only where NeedsTemplate says so;
// values are what the references to parents' VMs stand for, by their texts.
func ExtraTemplate(service Service, intent Intent, base Template, values map[string]string) (string, error) {
	text := Template{}
	if _, needed := NeedsTemplate(service, intent.Role); needed {
		role := service.role(intent.Role)
		contents, err := readContents(role.TemplateContents, variablesOf(service, role, intent, values))
		if err != nil {
			return "", fmt.Errorf("role %s: %w", intent.Role, err)
		}
		text = base.without("NAME").merged(contents)
	}
	return text.without("SERVICE_ID", "ROLE_NAME", KeyAttribute).with(
		Attribute{Name: "SERVICE_ID", Value: strconv.Itoa(service.ID)},
		Attribute{Name: "ROLE_NAME", Value: intent.Role},
		Attribute{Name: KeyAttribute, Value: intent.Key},
	).Text(), nil
}

func (t Template) with(more ...Attribute) Template { return append(t, more...) }
