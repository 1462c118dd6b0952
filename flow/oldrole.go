package flow

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
)

// oldRole is what a role of OneFlow 6 or 5 said in attributes that have other names today. The role is planned with today's,
// and written with its own, so that a document stays in the form in which it came.
type oldRole struct {
	typed bool
	// contents are vm_template_contents as template_contents would have them.
	contents json.RawMessage
}

// readOld fills today's fields of a role that has no template_id, if it is in the old form.
func (r *Role) readOld() {
	id, isID := wholeOf(r.Extra["vm_template"])
	if !isID {
		return
	}
	old := &oldRole{typed: r.Type != ""}
	if !old.typed {
		r.Type = RoleTypeVM
	}
	r.TemplateID = id
	if attributes, err := parseTemplateText(textOf(r.Extra["vm_template_contents"])); err == nil && len(attributes) > 0 {
		old.contents = mustMarshal(attributes)
	}
	if r.TemplateContents == nil {
		r.TemplateContents = old.contents
	}
	r.old = old
}

// extra is the role's other attributes, with vm_template as it is now.
func (r *Role) extra() map[string]json.RawMessage {
	if r.old == nil {
		return r.Extra
	}
	if id, isID := wholeOf(r.Extra["vm_template"]); isID && id == r.TemplateID {
		return r.Extra
	}
	changed := maps.Clone(r.Extra)
	changed["vm_template"] = json.RawMessage(strconv.Itoa(r.TemplateID))
	return changed
}

// inputValues are the values of a body's or a role's user inputs, those that OneFlow 6 called custom_attrs first.
func inputValues(extra map[string]json.RawMessage, values json.RawMessage) []json.RawMessage {
	return []json.RawMessage{extra["custom_attrs_values"], values}
}

// writeContents reports whether template_contents have to be written: not where they only say what the
// old form says.
func (r *Role) writeContents() bool {
	return r.old == nil || !bytes.Equal(r.TemplateContents, r.old.contents)
}
