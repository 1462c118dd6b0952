package flow

import (
	"fmt"
	"strings"
)

// KeyAttribute is the user-template attribute that carries an intent's key.
const KeyAttribute = "FLOWJET_KEY"

// ExtraTemplate is the template text that a VM is instantiated with, over its
// VM template.
func ExtraTemplate(service int, intent Intent) string {
	var text strings.Builder
	fmt.Fprintf(&text, "SERVICE_ID = \"%d\"\n", service)
	fmt.Fprintf(&text, "ROLE_NAME = \"%s\"\n", templateValue(intent.Role))
	fmt.Fprintf(&text, "%s = \"%s\"\n", KeyAttribute, templateValue(intent.Key))
	return text.String()
}

// templateValue escapes what would end a quoted value of a template.
func templateValue(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
}
