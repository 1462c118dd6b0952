package flow

import (
	"encoding/json"
	"maps"
	"reflect"
)

// plainBody and plainRole are a body and a role whose roles, nodes and log have no
// methods, so that encoding/json reads the whole of a body at once. An UnmarshalJSON
// is handed a text that was read to its end before, and reads it several times more.
type (
	plainBody struct {
		bodyFields
		Roles []plainRole `json:"roles"` // in the place of bodyFields'
		Log   []logFields `json:"log"`
	}
	plainRole struct {
		roleFields
		Nodes []nodeFields `json:"nodes"`
	}
)

// plainShape is the shape of the bodies that have no extra attributes anywhere, and
// plainNode and plainNodeInfo those of their nodes and of what these show of a VM.
var (
	plainNodeInfo = shape{"VM": attributeNames(reflect.TypeFor[NodeVM]())}
	plainNode     = shape{"deploy_id": nil, "vm_info": plainNodeInfo}
	plainShape    = func() shape {
		role := maps.Clone(attributeNames(reflect.TypeFor[roleFields]()))
		role["nodes"] = plainNode
		body := maps.Clone(attributeNames(reflect.TypeFor[bodyFields]()))
		body["roles"] = role
		body["log"] = attributeNames(reflect.TypeFor[logFields]())
		return body
	}()
)

// unmarshalPlain reads a body that has no extra attributes anywhere, as most have.
// It leaves all others, and what is not a body, to who can tell more.
func (b *Body) unmarshalPlain(text []byte) bool {
	if b.Roles != nil || !plainShape.fits(text) {
		return false
	}
	plain := plainBody{bodyFields: bodyFields(*b)}
	if json.Unmarshal(text, &plain) != nil {
		return false
	}
	*b = Body(plain.bodyFields)
	b.Extra = nil
	b.Roles = convertAll(plain.Roles, plainRole.role)
	b.Log = convertAll(plain.Log, func(entry logFields) LogEntry { return LogEntry(entry) })
	return true
}

func (r plainRole) role() Role {
	role := Role(r.roleFields)
	role.Nodes = convertAll(r.Nodes, func(node nodeFields) Node { return Node(node) })
	return role
}

// convertAll keeps nil, which stands for what was not there.
func convertAll[From, To any](list []From, convert func(From) To) []To {
	if list == nil {
		return nil
	}
	converted := make([]To, len(list))
	for i, one := range list {
		converted[i] = convert(one)
	}
	return converted
}
