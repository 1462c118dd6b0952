package flow

import (
	"regexp"
)

// Reference is a text such as ${Master.TEMPLATE.CONTEXT.ETH0_IP} in a role's
// template_contents: a value of a VM of one of its parents.
type Reference struct {
	// Text is the reference as it stands there.
	Text string
	// Parent is the parent role's name.
	Parent string
	// Path leads to the value in the VM's XML.
	Path []string
}

var referencePattern = regexp.MustCompile(`\$\{([^${}.]+)\.([^${}]+)\}`)

// References are those in a role's template_contents, each once. ${X.path}
// where X is no parent of the role stays what it is: it may be meant for the
// guest. So do those beyond MaxReferences, in a document that was written past the API.
func References(service Service, role string) []Reference {
	held := service.role(role)
	if held == nil {
		return nil
	}
	found := held.references()
	return found[:min(len(found), MaxReferences)]
}

// Value is what the reference stands for in a VM's XML: its path is looked for
// from the VM's root, then in its TEMPLATE and USER_TEMPLATE.
func (r Reference) Value(vm Template) (string, bool) {
	for _, root := range [][]string{nil, {"TEMPLATE"}, {"USER_TEMPLATE"}} {
		if value, found := vm.Lookup(append(root, r.Path...)...); found {
			return value, true
		}
	}
	return "", false
}

// maxNamed bounds how many roles a refusal names.
const maxNamed = 20
