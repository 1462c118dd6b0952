package template

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// isOld reports whether a body is in the form of OneFlow 6 or 5: all its roles are. OneFlow 7 converts such a body
// and no other: custom_attrs beside roles of today's form stay what they are.
func isOld(body raw.Object) bool {
	if !mentionsOldRoles(body) {
		return false
	}
	roles := raw.Objects(body["roles"])
	for _, role := range roles {
		if len(role["vm_template"]) == 0 && len(role["vm_template_contents"]) == 0 {
			return false
		}
	}
	return len(roles) > 0
}

// mentionsOldRoles reports whether there may be a role of OneFlow 6 among the roles, without
// reading them.
func mentionsOldRoles(body raw.Object) bool {
	return bytes.Contains(body["roles"], []byte(`"vm_template`))
}

// upgradeBody renames the attributes of an old body in place.
func upgradeBody(body raw.Object) {
	if isOld(body) {
		foldInto(body, "custom_attrs", "user_inputs")
		foldInto(body, "custom_attrs_values", "user_inputs_values")
	}
}

// upgradeRole brings a role of OneFlow 6 into today's form, in place. Only such
// a role may leave out its type.
func upgradeRole(role raw.Object) error {
	old, isOld := role["vm_template"]
	if isOld {
		delete(role, "vm_template")
		raw.SetDefault(role, "template_id", string(old))
		raw.SetDefault(role, "type", `"`+spec.RoleTypeVM+`"`)
		foldInto(role, "custom_attrs", "user_inputs")
		foldInto(role, "custom_attrs_values", "user_inputs_values")
	}
	contents, has := role["vm_template_contents"]
	if !has || !isOld && raw.KindOf(contents) != raw.KindText && raw.KindOf(contents) != raw.KindNull {
		return nil
	}
	delete(role, "vm_template_contents")
	return upgradeContents(role, contents)
}

// upgradeContents makes template_contents of a text in OpenNebula's template
// language; what template_contents has already stays.
func upgradeContents(role raw.Object, contents json.RawMessage) error {
	if raw.KindOf(contents) == raw.KindNull {
		return nil
	}
	if raw.KindOf(contents) != raw.KindText {
		return fmt.Errorf("is %s; it must be a string in OpenNebula's template language", raw.Short(contents))
	}
	attributes, err := one.ParseTemplate(raw.Text(contents))
	if err != nil {
		return err
	}
	if len(attributes) == 0 {
		return nil
	}
	role["template_contents"] = mergeValues(raw.Marshal(attributes), role["template_contents"])
	return nil
}

// foldInto renames an attribute. If the new name is there already, both are
// merged and the new name's values win.
func foldInto(o raw.Object, old, current string) {
	value, has := o[old]
	if !has {
		return
	}
	delete(o, old)
	if raw.KindOf(value) == raw.KindNull {
		return
	}
	o[current] = mergeValues(value, o[current])
}
