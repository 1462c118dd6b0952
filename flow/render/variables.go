package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// variablePattern matches ${Parent.path} and $NAME.
var variablePattern = regexp.MustCompile(referencePattern.String() + `|\$(\w+)`)

// Instance is a VM or virtual router to be made for a role.
type Instance struct {
	Role string
	// Key is the key of the intent.
	Key string
	// Ordinal is the VM's number in its role, or NoOrdinal.
	Ordinal int
}

// NoOrdinal is the ordinal of a virtual router, which has none.
const NoOrdinal = -1

// variables are the values to which a role's template_contents may refer. They are put in when a VM is made and stored nowhere else: values
// of user inputs may be secrets.
type variables struct {
	// references are the values from parents' VMs, by their texts: ${db.NAME}.
	references map[string]string
	// values are those of user inputs, networks and the service itself, by name.
	values map[string]string
	// unset are user inputs without a value.
	unset map[string]bool
	// left is how many more bytes values may have together.
	left *int
}

// variablesOf returns the variables of a role, for one of its VMs. A name that is declared more than once means the role's input, the
// service's, the network, as OneFlow 6 had it, and then, if the role or its service expands them, the service's own attribute.
func variablesOf(service spec.Service, role *spec.Role, instance Instance, references map[string]string) variables {
	v := variables{references: references, values: map[string]string{}, unset: map[string]bool{}, left: new(spec.MaxContents)}
	expands := role.Extra[spec.ExpandAttribute]
	if raw.KindOf(expands) == raw.KindNull {
		expands = service.Body.Extra[spec.ExpandAttribute]
	}
	if string(expands) == "true" {
		v.values["SERVICE_ID"] = strconv.Itoa(service.ID)
		v.values["SERVICE_NAME"] = service.Body.Name
		v.values["ROLE_NAME"] = instance.Role
		if instance.Ordinal != NoOrdinal {
			v.values["VM_NUMBER"] = strconv.Itoa(instance.Ordinal)
		}
	}
	for name, id := range spec.NetworkIDs(service.Body.NetworksValues) {
		v.values[name] = raw.Plain(id)
	}
	for _, inputs := range []spec.Inputs{service.Body.Inputs(), role.Inputs()} {
		for _, declared := range inputs.Declared {
			for name := range declared {
				if _, has := v.values[name]; !has {
					v.unset[name] = true
				}
			}
		}
		for _, values := range inputs.Values {
			for name, value := range values {
				if raw.KindOf(value) != raw.KindNull {
					v.values[name] = raw.Plain(value)
					delete(v.unset, name)
				}
			}
		}
	}
	return v
}

// fill puts the values into an attribute's value; context is whether that belongs to CONTEXT. left is false for a value that is only a
// reference to an omitted input: the VM template's value is used then.
func (v variables) fill(name string, value json.RawMessage, context bool) (text string, left bool) {
	switch raw.KindOf(value) {
	case raw.KindText:
		text = raw.Text(value)
		if !context && v.unset[strings.TrimPrefix(text, "$")] && strings.HasPrefix(text, "$") {
			return "", false
		}
		if context && text == "$"+name {
			return text, true // as OneFlow writes it for every input; oned inserts the value
		}
		return v.replace(text, context, func(value string) string { return value }), true
	case raw.KindObject, raw.KindArray:
		return v.replace(string(value), context, func(value string) string {
			quoted := raw.Marshal(value)
			return string(quoted[1 : len(quoted)-1])
		}), true
	}
	return raw.Plain(value), true
}

// replace puts the values into a text, each once: inserted text is not expanded again. It stops when they have become too long. A $NAME is
// left to oned if it is $NETWORK[...], and in CONTEXT if it is escaped or its value has a $, in which oned would expand variables again:
// oned finds such a value in the VM's template by the name.
func (v variables) replace(text string, context bool, write func(string) string) string {
	var filled strings.Builder
	end := 0
	for _, at := range variablePattern.FindAllStringSubmatchIndex(text, -1) {
		value, known := v.references[text[at[0]:at[1]]]
		if start := at[len(at)-2]; start >= 0 {
			name := text[start:at[1]]
			if value, known = v.values[name]; v.unset[name] {
				value, known = "", true
			}
			oneds := strings.HasPrefix(text[at[1]:], "[") || context && (strings.Contains(value, "$") || escaped(text[:at[0]]))
			known = known && !oneds
		}
		if *v.left -= len(value); *v.left < 0 {
			break
		}
		if known {
			filled.WriteString(text[end:at[0]])
			filled.WriteString(write(value))
			end = at[1]
		}
	}
	filled.WriteString(text[end:])
	return filled.String()
}

// Reference is a text such as ${Master.TEMPLATE.CONTEXT.ETH0_IP} in a role's template_contents: a value of a VM of one of its parents.
type Reference struct {
	// Text is the reference as it is written.
	Text string
	// Parent is the parent role's name.
	Parent string
	// Path leads to the value in the VM's XML.
	Path []string
}

var referencePattern = regexp.MustCompile(`\$\{([^${}.]+)\.([^${}]+)\}`)

// References returns those in a role's template_contents, each once. ${X.path} where X is no parent of the role is kept: it may be meant
// for the guest. So are those beyond MaxReferences, in a document that was written past the API.
func References(service spec.Service, role string) []Reference {
	held := service.Role(role)
	if held == nil {
		return nil
	}
	found := referencesOf(held)
	return found[:min(len(found), spec.MaxReferences)]
}

// referencesOf returns those of a role, in their order, up to one more than allowed.
func referencesOf(role *spec.Role) []Reference {
	var found []Reference
	parents, known := parentNames(role), map[string]bool{}
	for rest := []byte(role.TemplateContents); len(found) <= spec.MaxReferences; {
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

func parentNames(role *spec.Role) map[string]string {
	names := map[string]string{}
	for _, parent := range slices.Backward(role.Parents) {
		names[strings.ToLower(parent)] = parent
	}
	return names
}

// Value returns the reference's value from a VM's XML: its path is looked up from the VM's root, then in its TEMPLATE and USER_TEMPLATE,
// then anywhere, as OneFlow does: ${db.ETH0_IP} is in CONTEXT.
func (r Reference) Value(vm one.Template) (string, bool) {
	for _, root := range [][]string{nil, {"TEMPLATE"}, {"USER_TEMPLATE"}} {
		if value, found := vm.Lookup(append(root, r.Path...)...); found {
			return value, true
		}
	}
	return vm.Find(r.Path...)
}

// Check returns what is wrong with the variables and references in a role's template_contents, empty if nothing is. oned expands variables
// in CONTEXT and SCHED_REQUIREMENTS, and supports $NAME and $NAME[...].
func Check(contents raw.Object, role *spec.Role) string {
	parents := parentNames(role)
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		value := contents[name]
		switch strings.ToUpper(name) {
		case contextAttribute:
			inner := raw.Attributes(value)
			for _, key := range slices.Sorted(maps.Keys(inner)) {
				if hasInvalidVariable(raw.Plain(inner[key]), parents) {
					return fmt.Sprintf("the attribute %s in %s has a $ that oned cannot read: $NAME is a variable, ${PARENT.PATH} a value of a parent role's VM; "+
						"write \\$ for any other, or use START_SCRIPT_BASE64 for a script", key, name)
				}
			}
		case "SCHED_REQUIREMENTS":
			if hasInvalidVariable(raw.Plain(value), parents) {
				return fmt.Sprintf("the attribute %s has a $ that oned cannot read: $NAME is a variable", name)
			}
		}
	}
	if len(referencesOf(role)) > spec.MaxReferences {
		return fmt.Sprintf("refer to more than %d values of parents' VMs; that is the maximum", spec.MaxReferences)
	}
	return ""
}

// hasInvalidVariable reports whether a text has a $ that is neither escaped nor before a name, nor part of a reference to one of the
// parents.
func hasInvalidVariable(text string, parents map[string]string) bool {
	text = referencePattern.ReplaceAllStringFunc(text, func(reference string) string {
		name, _, _ := strings.Cut(strings.TrimPrefix(reference, "${"), ".")
		if parents[strings.ToLower(name)] != "" {
			return ""
		}
		return reference
	})
	for at, c := range text {
		if c == '$' && !escaped(text[:at]) && !variableName.MatchString(text[at+1:]) {
			return true
		}
	}
	return false
}

var variableName = regexp.MustCompile(`^\w`)

// escaped reports whether the text after before is escaped: before ends in an odd number of backslashes.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// IsNetworkUser reports whether an attribute of a VM template has a NETWORK_ID.
func IsNetworkUser(name string) bool {
	return strings.EqualFold(name, "NIC") || strings.EqualFold(name, "NIC_ALIAS") || strings.EqualFold(name, "PCI")
}
