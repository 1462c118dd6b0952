package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// isOld reports whether a body is in the form of OneFlow 6 or 5: all its roles are. OneFlow 7 converts such a body
// and no other: custom_attrs beside roles of today's form stay what they are.
func isOld(body object) bool {
	if !mentionsOldRoles(body) {
		return false
	}
	roles := objectsOf(body["roles"])
	for _, role := range roles {
		if len(role["vm_template"]) == 0 && len(role["vm_template_contents"]) == 0 {
			return false
		}
	}
	return len(roles) > 0
}

// mentionsOldRoles reports whether there may be a role of OneFlow 6 among the roles, without
// reading them.
func mentionsOldRoles(body object) bool { return bytes.Contains(body["roles"], []byte(`"vm_template`)) }

// upgradeBody renames the attributes of an old body in place.
func upgradeBody(body object) {
	if isOld(body) {
		foldInto(body, "custom_attrs", "user_inputs")
		foldInto(body, "custom_attrs_values", "user_inputs_values")
	}
}

// upgradeRole brings a role of OneFlow 6 into today's form, in place. Only such
// a role may leave out its type.
func upgradeRole(role object) error {
	old, isOld := role["vm_template"]
	if isOld {
		delete(role, "vm_template")
		setDefault(role, "template_id", string(old))
		setDefault(role, "type", `"`+RoleTypeVM+`"`)
		foldInto(role, "custom_attrs", "user_inputs")
		foldInto(role, "custom_attrs_values", "user_inputs_values")
	}
	contents, has := role["vm_template_contents"]
	if !has || !isOld && kindOf(contents) != kindText && kindOf(contents) != kindNull {
		return nil
	}
	delete(role, "vm_template_contents")
	return upgradeContents(role, contents)
}

// upgradeContents makes template_contents of a text in OpenNebula's template
// language; what template_contents has already stays.
func upgradeContents(role object, contents json.RawMessage) error {
	if kindOf(contents) == kindNull {
		return nil
	}
	if kindOf(contents) != kindText {
		return fmt.Errorf("is %s; it must be a text in OpenNebula's template language", short(contents))
	}
	attributes, err := parseTemplateText(textOf(contents))
	if err != nil {
		return err
	}
	if len(attributes) == 0 {
		return nil
	}
	role["template_contents"] = mergeValues(mustMarshal(attributes), role["template_contents"])
	return nil
}

// foldInto renames an attribute. If the new name is there already, both are
// merged and the new name's values win.
func foldInto(o object, old, current string) {
	value, has := o[old]
	if !has {
		return
	}
	delete(o, old)
	if kindOf(value) == kindNull {
		return
	}
	o[current] = mergeValues(value, o[current])
}
