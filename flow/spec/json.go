package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	stdjson "encoding/json"
	"maps"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
)

var (
	// asBefore writes bodies as encoding/json does: records hold digests of them.
	asBefore = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false))
	// exactly distinguishes attributes whose names differ in case only, and ignores null.
	exactly = json.JoinOptions(json.MatchCaseInsensitiveNames(false), jsonv1.MergeWithLegacySemantics(false))
)

// Text returns the body as it is written into a document. oned accepts no characters above U+FFFF: they are escaped.
func (b Body) Text() ([]byte, error) {
	text, err := json.Marshal(b, asBefore)
	return raw.EscapeBeyondBMP(text), err
}

// MarshalJSON is Text for encoding/json, which does not support embedded attributes.
func (b Body) MarshalJSON() ([]byte, error) { return b.Text() }

// UnmarshalJSON is ParseBody for encoding/json.
func (b *Body) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, b, asBefore, exactly) }

// bodyFields and roleFields have the fields but not the methods, so that these do not call themselves.
type (
	bodyFields Body
	roleFields Role
	// oldRoleFields are those of a role in the form of OneFlow 6 or 5, which has no template_id.
	oldRoleFields struct {
		roleFields
		TemplateID struct{} `json:"template_id,omitzero"`
	}
)

// MarshalJSONTo writes the known attributes first, then the others by name.
func (b Body) MarshalJSONTo(out *jsontext.Encoder) error {
	return json.MarshalEncode(out, (*bodyFields)(&b))
}

// UnmarshalJSONFrom reads the known attributes and keeps the others in Extra.
func (b *Body) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	return json.UnmarshalDecode(in, (*bodyFields)(b), exactly)
}

// MarshalJSONTo writes the known attributes first, then the others by name. A role that has been handled shows its nodes even if there are
// none: among the others, where older versions wrote them.
func (r Role) MarshalJSONTo(out *jsontext.Encoder) error {
	written := roleFields(r)
	if r.Nodes != nil && len(r.Nodes) == 0 {
		written.Extra = maps.Clone(written.Extra)
		if written.Extra == nil {
			written.Extra = map[string]stdjson.RawMessage{}
		}
		written.Extra["nodes"] = stdjson.RawMessage("[]")
	}
	if r.old == nil {
		return json.MarshalEncode(out, &written)
	}
	if id, isID := raw.Whole(r.Extra["vm_template"]); !isID || id != r.TemplateID {
		written.Extra = maps.Clone(written.Extra)
		written.Extra["vm_template"] = stdjson.RawMessage(strconv.Itoa(r.TemplateID))
	}
	if !r.old.typed {
		written.Type = ""
	}
	if bytes.Equal(r.TemplateContents, r.old.contents) { // they are the same as in the old form
		written.TemplateContents = nil
	}
	return json.MarshalEncode(out, &oldRoleFields{roleFields: written})
}

// noTemplate is the template_id of a role that names none.
const noTemplate = math.MinInt

// UnmarshalJSONFrom reads the known attributes, also from the old form, and keeps the others in Extra.
func (r *Role) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	r.TemplateID = noTemplate
	if err := json.UnmarshalDecode(in, (*roleFields)(r), exactly); err != nil {
		return err
	}
	if r.TemplateID != noTemplate {
		return nil
	}
	id, isOld := raw.Whole(r.Extra["vm_template"])
	r.TemplateID = id
	if !isOld {
		r.TemplateID = 0
		return nil
	}
	r.old = &oldRole{typed: r.Type != "", contents: oldContents(r.Extra)}
	if !r.old.typed {
		r.Type = RoleTypeVM
	}
	if r.TemplateContents == nil {
		r.TemplateContents = r.old.contents
	}
	return nil
}

// oldRole has the attributes of a role of OneFlow 6 or 5 that have other names today. The role is planned with today's, and written with
// its own, so that a document keeps its form.
type oldRole struct {
	typed bool
	// contents are vm_template_contents in the form of template_contents.
	contents stdjson.RawMessage
}

// oldContents returns vm_template_contents in the form of template_contents.
func oldContents(extra map[string]stdjson.RawMessage) stdjson.RawMessage {
	attributes, err := one.ParseTemplate(raw.Text(extra["vm_template_contents"]))
	if err != nil || len(attributes) == 0 {
		return nil
	}
	return raw.Marshal(attributes)
}

// Digest identifies a body by its meaning, not by how it is written.
func (b Body) Digest() string {
	text, err := b.Text()
	if err != nil {
		return ""
	}
	return DigestOf(text)
}

// DigestOf returns the Digest of the body with the Text.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
