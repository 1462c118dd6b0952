package flow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
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

// references are a role's, in their order, up to one more than there may be.
func (r *Role) references() []Reference {
	var found []Reference
	parents, known := r.parentNames(), map[string]bool{}
	for rest := []byte(r.TemplateContents); len(found) <= MaxReferences; {
		at := referencePattern.FindSubmatchIndex(rest)
		if at == nil {
			break
		}
		text, name, path := string(rest[at[0]:at[1]]), string(rest[at[2]:at[3]]), string(rest[at[4]:at[5]])
		rest = rest[at[1]:]
		if parent := parents[strings.ToLower(name)]; parent != "" && !known[text] {
			known[text] = true
			found = append(found, Reference{Text: text, Parent: parent, Path: strings.Split(path, ".")})
		}
	}
	return found
}

// parentNames are the names of a role's parents by how they are looked for.
func (r *Role) parentNames() map[string]string {
	names := map[string]string{}
	for _, parent := range slices.Backward(r.Parents) {
		names[strings.ToLower(parent)] = parent
	}
	return names
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

// role finds a role by its name, nil if the service has none of it.
func (s Service) role(name string) *Role {
	for i := range s.Body.Roles {
		if s.Body.Roles[i].Name == name {
			return &s.Body.Roles[i]
		}
	}
	return nil
}

// maxNamed bounds how many roles a refusal names.
const maxNamed = 20

// NoRole reports whether the service has no role of a name, and which it has.
func (s Service) NoRole(name string) string {
	text := fmt.Sprintf("service %d has no role %q", s.ID, name)
	names := roleNames(s.Body.Roles)
	if len(names) == 0 {
		return text + "; it has none at all"
	}
	if len(names) > maxNamed {
		names = append(names[:maxNamed], "…")
	}
	return text + "; it has " + strings.Join(names, ", ")
}

// RoleNodes are the ids of a role's VMs, oldest first.
func (s Service) RoleNodes(name string) []int {
	role := s.role(name)
	if role == nil {
		return nil
	}
	ids := make([]int, len(role.Nodes))
	for i, node := range role.Nodes {
		ids[i] = node.DeployID
	}
	slices.Sort(ids)
	return ids
}
