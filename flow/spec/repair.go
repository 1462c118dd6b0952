package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flowjet/flowjet/flow/internal/raw"
)

// ReadService reads the body of a service's document, whoever wrote it: OneFlow 5.12 to 7.4, an editor, or a server that was interrupted.
// Wrong types and contradictions are repaired, and listed in repairs; unknown attributes are kept. The error is for a text that is no JSON
// object, for roles or nodes that cannot be read (their VMs must not be forgotten), and for too many of them.
func ReadService(text []byte) (body Body, repairs []string, err error) {
	if body, ok := readWritten(text); ok {
		r := &repair{}
		r.fit(&body)
		return body, r.made, nil
	}
	return readForeign(text)
}

func readForeign(text []byte) (body Body, repairs []string, err error) {
	var whole raw.Object
	if err := json.Unmarshal(text, new(any)); err != nil {
		return Body{}, nil, fmt.Errorf("read the document's body: %w", err)
	}
	if json.Unmarshal(text, &whole) != nil || whole == nil {
		return Body{}, nil, fmt.Errorf("read the document's body: it is %s and must be an object", raw.KindOf(text))
	}
	r := &repair{nodes: map[int]bool{}}
	state := whole["state"]
	if kind := raw.KindOf(state); kind != raw.KindNull && kind != raw.KindNumber && string(serviceForms["state"](state)) == "-1" {
		r.unreadable = fmt.Sprintf("state is %s and must be the number of a state", raw.Shown(string(state)))
	}
	r.coerce("", whole, serviceForms)
	if log, has := whole["log"]; has {
		entries := r.elements("log", log, nil)
		for i, entry := range entries {
			r.coerce(fmt.Sprintf("log[%d].", i), entry, logForms)
		}
		whole["log"] = raw.Marshal(entries)
	}
	r.roles(whole)
	if r.unreadable != "" {
		return Body{}, nil, fmt.Errorf("read the document's body: %s", r.unreadable)
	}
	if body, err = ParseBody(whole.JSON()); err != nil {
		return Body{}, nil, err
	}
	r.fit(&body)
	return body, r.made, nil
}

// readWritten reads a body that equals what Text writes of it, as OneFlow's do too, at a quarter of the cost of checking each attribute:
// all attributes have their types, and only the numbers remain to be checked.
func readWritten(text []byte) (Body, bool) {
	if hasLongNumbers(text) {
		return Body{}, false
	}
	body, err := ParseBody(text)
	if err != nil || body.Roles == nil || len(body.Roles) > MaxRoles {
		return Body{}, false
	}
	met := map[int]bool{}
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			if node.DeployID < 0 || met[node.DeployID] {
				return Body{}, false
			}
			met[node.DeployID] = true
		}
	}
	if len(met) > maxNodes {
		return Body{}, false
	}
	written, err := body.Text()
	if err != nil || bytes.Equal(written, text) {
		return body, err == nil
	}
	// It may still mean the same: in another order, with spaces, with characters escaped differently.
	ours, theirs := jsontext.Value(bytes.Clone(written)), jsontext.Value(bytes.Clone(text))
	if ours.Canonicalize() != nil || theirs.Canonicalize() != nil || !bytes.Equal(ours, theirs) {
		return Body{}, false
	}
	body, err = ParseBody(written)
	return body, err == nil
}

// hasLongNumbers reports whether the text has a number, or a part of a string that looks like one, which is not sure to lie between
// math.MinInt32 and math.MaxUint32: with an exponent, or ten digits or more, except times in seconds until 2096.
func hasLongNumbers(text []byte) bool {
	start := 0 // of the current digits
	for i, char := range text {
		if '0' <= char && char <= '9' {
			if i-start >= 9 && (i-start > 9 || text[start] > '3' || start > 0 && text[start-1] == '-') {
				return true
			}
			continue
		}
		if start < i && (char == 'e' || char == 'E') {
			return true
		}
		start = i + 1
	}
	return false
}

// FoundDigest returns the digest that identifies a document's text after ReadService has read it: the body's, or the text's own if the body
// was repaired.
func FoundDigest(text []byte, body Body, repairs []string) string {
	if len(repairs) > 0 {
		return DigestOf(text)
	}
	return body.Digest()
}

// Noted returns the body with a line in its log for each repair.
func (b Body) Noted(repairs []string, now time.Time) Body {
	b.Log = slices.Clone(b.Log)
	for _, one := range repairs {
		b.Log = Logged(b.Log, LogEntry{Timestamp: now.Unix(), Severity: "I", Message: "The document was repaired: " + one})
	}
	return b
}

type repair struct {
	made []string
	// nodes are the VMs that are nodes already.
	nodes map[int]bool
	// unreadable says what cannot be read and must not be lost.
	unreadable string
}

// maxNodes bounds the nodes of a service: oned is asked for each unknown one. There can be more nodes than VMs allowed in a service, for
// VMs that end are nodes, too.
const maxNodes = 2 * MaxVMs

const maxRepairs = 20

func (r *repair) note(format string, arguments ...any) {
	if len(r.made) < maxRepairs {
		r.made = append(r.made, fmt.Sprintf(format, arguments...))
	}
}

// form converts a value into an attribute's type, nil if that is impossible.
type form func(value json.RawMessage) json.RawMessage

var (
	serviceForms = map[string]form{
		"name": textForm, "deployment": textForm, "shutdown_action": textForm, "description": textForm,
		"ready_status_gate": flagForm, "automatic_deletion": flagForm, "on_hold": flagForm,
		"registration_time": wholeForm, "start_time": wholeForm, "state": stateForm(serviceStateNames[:]),
		"log": listForm,
	}
	serviceRoleForms = map[string]form{
		"name": textForm, "type": textForm, "shutdown_action": textForm, "parents": textsForm, "on_hold": flagForm,
		"cardinality": wholeForm, "template_id": wholeForm, "min_vms": wholeForm, "max_vms": wholeForm, "cooldown": wholeForm,
		"last_vmname": wholeForm, "vrouter_id": wholeForm,
		"state": stateForm(roleStateNames[:]), "scale_way": stateForm([]string{"UP", "DOWN"}),
	}
	logForms  = map[string]form{"timestamp": wholeForm, "severity": textForm, "message": textForm}
	nodeForms = map[string]form{"deploy_id": wholeForm, "vm_info": objectForm}
	infoForms = map[string]form{"VM": objectForm}
	vmForms   = map[string]form{"ID": textForm, "UID": textForm, "GID": textForm, "UNAME": textForm, "GNAME": textForm, "NAME": textForm}
)

// coerce converts the attributes of an object into their forms. Values for which that is impossible are removed, and null, which means
// absent.
func (r *repair) coerce(path string, o raw.Object, forms map[string]form) {
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		value, has := o[name]
		if !has {
			continue
		}
		made := forms[name](value)
		switch {
		case raw.KindOf(value) == raw.KindNull, made == nil && string(value) == `""`:
			delete(o, name) // forms send empty fields so
		case made == nil:
			r.note("%s%s was %s and is removed", path, name, raw.Shown(string(value)))
			delete(o, name)
		case string(made) != string(value):
			if !raw.Equal(made, value) && raw.Plain(made) != raw.Plain(value) {
				r.note("%s%s was %s and is now %s", path, name, raw.Shown(string(value)), raw.Shown(string(made)))
			}
			o[name] = made
		}
	}
}

// elements returns the objects of a list. Null is left out; of others, wrap makes an object.
func (r *repair) elements(path string, list json.RawMessage, wrap func(json.RawMessage) raw.Object) []raw.Object {
	objects := []raw.Object{}
	for i, element := range raw.Elements(list) {
		one := raw.Attributes(element)
		if one == nil && wrap != nil && raw.KindOf(element) != raw.KindNull {
			if one = wrap(element); one == nil && r.unreadable == "" {
				r.unreadable = fmt.Sprintf("%s[%d] is %s and must be an object", path, i, raw.KindOf(element))
			}
		}
		if one == nil {
			r.note("%s[%d] was %s and is removed", path, i, raw.Shown(string(element)))
			continue
		}
		objects = append(objects, one)
	}
	return objects
}

// list returns an attribute that has to be a list of objects, or a single one.
func (r *repair) list(path string, o raw.Object, attribute, one string) json.RawMessage {
	value, has := o[attribute]
	if !has || raw.KindOf(value) == raw.KindNull {
		return nil
	}
	list := listForm(value)
	if alone := raw.Attributes(value); list == nil || alone != nil && len(alone[one]) == 0 {
		if r.unreadable == "" {
			r.unreadable = fmt.Sprintf("%s%s is %s and must be an array of objects", path, attribute, raw.KindOf(value))
		}
		return nil
	}
	if raw.KindOf(value) == raw.KindObject {
		r.note("%s%s was an object and is now an array with it", path, attribute)
	}
	return list
}

func (r *repair) roles(whole raw.Object) {
	if raw.KindOf(whole["roles"]) == raw.KindNull {
		r.note("roles was missing")
	}
	list := r.list("", whole, "roles", "name")
	if raw.KindOf(list) == raw.KindArray && raw.Count(list) > MaxRoles {
		r.unreadable = fmt.Sprintf("roles has %d elements; at most %d are possible", raw.Count(list), MaxRoles)
		return
	}
	roles := r.elements("roles", list, func(json.RawMessage) raw.Object { return nil })
	for i, role := range roles {
		path := fmt.Sprintf("roles[%d].", i)
		_, counted := role["cardinality"]
		r.coerce(path, role, serviceRoleForms)
		if nodes := r.list(path, role, "nodes", "deploy_id"); nodes != nil {
			role["nodes"] = r.roleNodes(path+"nodes", nodes)
		} else {
			delete(role, "nodes")
		}
		if _, still := role["cardinality"]; counted && !still {
			role["cardinality"] = json.RawMessage("-1") // decided when the nodes are known
		}
		_, isOld := role["vm_template"]
		if _, has := role["template_id"]; !has && !isOld {
			r.note("%stemplate_id was missing: no VM can be created", path)
			role["template_id"] = json.RawMessage("-1")
		}
	}
	whole["roles"] = raw.Marshal(roles)
}

// roleNodes returns a role's nodes, each VM once in the service.
func (r *repair) roleNodes(path string, list json.RawMessage) json.RawMessage {
	kept := []raw.Object{}
	nodeOf := func(element json.RawMessage) raw.Object { // of a VM's id alone
		if id := wholeForm(element); id != nil {
			return raw.Object{"deploy_id": id}
		}
		return nil
	}
	for i, node := range r.elements(path, list, nodeOf) {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.coerce(at+".", node, nodeForms)
		info := raw.Attributes(node["vm_info"])
		if info != nil {
			r.coerce(at+".vm_info.", info, infoForms)
		}
		vm := raw.Attributes(info["VM"])
		if vm != nil {
			r.coerce(at+".vm_info.VM.", vm, vmForms)
			info["VM"] = vm.JSON()
		}
		if info != nil {
			node["vm_info"] = info.JSON()
		}
		id, has := raw.Whole(node["deploy_id"])
		if !has {
			id, has = raw.Whole(vm["ID"])
			node["deploy_id"] = json.RawMessage(strconv.Itoa(id))
		}
		switch {
		case !has || id < 0:
			r.note("%s has no VM and is removed", at)
		case r.nodes[id]:
			r.note("%s is VM %d, which is already a node, and is removed", at, id)
		default:
			r.nodes[id] = true
			kept = append(kept, node)
		}
	}
	if len(r.nodes) > maxNodes {
		r.unreadable = fmt.Sprintf("the roles have more than %d nodes", maxNodes)
	}
	return raw.Marshal(kept)
}

func textForm(value json.RawMessage) json.RawMessage {
	switch raw.KindOf(value) {
	case raw.KindText:
		return value
	case raw.KindNumber, raw.KindBoolean:
		return raw.Marshal(string(value))
	}
	return nil
}

func wholeForm(value json.RawMessage) json.RawMessage {
	text := string(value)
	if raw.KindOf(value) == raw.KindText {
		text = strings.TrimSpace(raw.Text(value))
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil && whole >= math.MinInt32 && whole <= math.MaxUint32 {
		return json.RawMessage(strconv.FormatInt(whole, 10))
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(number) <= math.MaxInt32 {
		return json.RawMessage(strconv.FormatInt(int64(number), 10))
	}
	return nil
}

func flagForm(value json.RawMessage) json.RawMessage {
	switch strings.ToLower(raw.Plain(value)) {
	case "true", "yes", "1":
		return json.RawMessage("true")
	case "false", "no", "0":
		return json.RawMessage("false")
	}
	return nil
}

// listForm accepts a single object as a list too.
func listForm(value json.RawMessage) json.RawMessage {
	switch raw.KindOf(value) {
	case raw.KindArray:
		return value
	case raw.KindObject:
		return raw.Marshal([]json.RawMessage{value})
	}
	return nil
}

func objectForm(value json.RawMessage) json.RawMessage {
	if raw.KindOf(value) == raw.KindObject {
		return value
	}
	return nil
}

func textsForm(value json.RawMessage) json.RawMessage {
	if kind := raw.KindOf(value); kind != raw.KindText && kind != raw.KindArray {
		return nil
	}
	texts := []json.RawMessage{}
	for _, element := range raw.List(value) {
		if text := textForm(element); text != nil {
			texts = append(texts, text)
		}
	}
	return raw.Marshal(texts)
}

// stateForm returns the number of one of the names, or the number itself; -1 for anything else.
func stateForm(states []string) form {
	return func(value json.RawMessage) json.RawMessage {
		if number := slices.Index(states, strings.ToUpper(strings.TrimSpace(raw.Text(value)))); number >= 0 {
			return json.RawMessage(strconv.Itoa(number))
		}
		if number := wholeForm(value); number != nil {
			return number
		}
		return json.RawMessage("-1") // decided when the rest is known
	}
}
