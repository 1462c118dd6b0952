package flow

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Text is the body as it is written into a document: json.Marshal's, byte for
// byte. A body is written several times for each change of a service, and
// encoding/json reads what a MarshalJSON returns once more at each level.
func (b Body) Text() ([]byte, error) {
	w := bodyWriter{out: make([]byte, 0, b.roughSize())}
	w.body(&b)
	return w.text()
}

// roughSize is about how long the text will be.
func (b Body) roughSize() int {
	size := 512 + 96*len(b.Log) + len(b.Networks) + len(b.NetworksValues)
	for i := range b.Roles {
		size += 512 + 176*len(b.Roles[i].Nodes) + len(b.Roles[i].TemplateContents)
	}
	return size
}

// bodyWriter appends objects to a text: the known attributes in the order of the
// struct's fields, then the others by name. Its methods leave out what the fields'
// tags say is left out when empty.
type bodyWriter struct {
	out []byte
	err error
}

func (w *bodyWriter) text() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return w.out, nil
}

func (w *bodyWriter) body(b *Body) {
	w.begin()
	w.string("name", b.Name)
	w.stringIfAny("deployment", b.Deployment)
	w.name("roles")
	writeList(w, b.Roles, (*bodyWriter).role)
	w.stringIfAny("shutdown_action", b.ShutdownAction)
	w.flag("ready_status_gate", b.ReadyStatusGate)
	w.flag("automatic_deletion", b.AutomaticDeletion)
	w.flag("on_hold", b.OnHold)
	w.raw("user_inputs", b.UserInputs)
	w.raw("user_inputs_values", b.UserInputsValues)
	w.raw("networks", b.Networks)
	w.raw("networks_values", b.NetworksValues)
	if b.Description != nil {
		w.string("description", *b.Description)
	}
	w.numberIfAny("registration_time", b.RegistrationTime)
	w.raw("deadlines", b.Deadlines)
	writeNumber(w, "state", b.State)
	w.numberIfAny("start_time", b.StartTime)
	if len(b.Log) > 0 {
		w.name("log")
		writeList(w, b.Log, (*bodyWriter).logEntry)
	}
	w.end(b.Extra)
}

// role shows the nodes of a role that has been looked at even when there are none:
// among the other attributes, where older versions wrote them.
func (w *bodyWriter) role(r *Role) {
	w.begin()
	w.string("name", r.Name)
	if r.old == nil || r.old.typed {
		w.stringIfAny("type", r.Type)
	}
	w.number("cardinality", int64(r.Cardinality))
	if r.old == nil {
		w.number("template_id", int64(r.TemplateID))
	}
	if len(r.Parents) > 0 {
		w.name("parents")
		writeList(w, r.Parents, func(w *bodyWriter, parent *string) { w.out = AppendText(w.out, *parent) })
	}
	w.stringIfAny("shutdown_action", r.ShutdownAction)
	writeNumber(w, "min_vms", r.MinVMs)
	writeNumber(w, "max_vms", r.MaxVMs)
	w.raw("user_inputs", r.UserInputs)
	w.raw("user_inputs_values", r.UserInputsValues)
	w.raw("elasticity_policies", r.ElasticityPolicies)
	w.raw("scheduled_policies", r.ScheduledPolicies)
	w.raw("heal", r.Heal)
	w.raw("deadlines", r.Deadlines)
	w.raw("victims", r.Victims)
	writeNumber(w, "cooldown", r.Cooldown)
	writeNumber(w, "state", r.State)
	extra := r.extra()
	switch {
	case len(r.Nodes) > 0:
		w.name("nodes")
		writeList(w, r.Nodes, (*bodyWriter).node)
	case r.Nodes != nil:
		extra = withAttribute(extra, "nodes", "[]")
	}
	w.flag("on_hold", r.OnHold)
	if r.writeContents() {
		w.raw("template_contents", r.TemplateContents)
	}
	writeNumber(w, "last_vmname", r.LastVMName)
	writeNumber(w, "vrouter_id", r.VRouterID)
	w.raw("vrouter_ips", r.VRouterIPs)
	writeNumber(w, "scale_way", r.ScaleWay)
	w.end(extra)
}

func (w *bodyWriter) node(n *Node) {
	w.begin()
	w.number("deploy_id", int64(n.DeployID))
	w.name("vm_info")
	w.begin()
	w.name("VM")
	w.begin()
	vm := &n.VMInfo.VM
	w.string("ID", vm.ID)
	w.string("UID", vm.UID)
	w.string("GID", vm.GID)
	w.string("UNAME", vm.UName)
	w.string("GNAME", vm.GName)
	w.string("NAME", vm.Name)
	w.end(vm.extra)
	w.end(n.VMInfo.extra)
	w.end(n.Extra)
}

func (w *bodyWriter) logEntry(entry *LogEntry) {
	w.begin()
	w.number("timestamp", entry.Timestamp)
	w.string("severity", entry.Severity)
	w.string("message", entry.Message)
	w.end(entry.extra)
}

func (w *bodyWriter) begin() { w.out = append(w.out, '{') }

// end writes the extra attributes by name, and ends the object.
func (w *bodyWriter) end(extra map[string]json.RawMessage) {
	if len(extra) > 0 {
		for _, name := range slices.Sorted(maps.Keys(extra)) {
			w.separate()
			w.out = append(AppendText(w.out, name), ':')
			w.value(extra[name])
		}
	}
	w.out = append(w.out, '}')
}

// separate writes the comma before every attribute but an object's first.
func (w *bodyWriter) separate() {
	if w.out[len(w.out)-1] != '{' {
		w.out = append(w.out, ',')
	}
}

func (w *bodyWriter) name(name string) {
	w.separate()
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, `":`...)
}

func (w *bodyWriter) string(name, text string) {
	w.name(name)
	w.out = AppendText(w.out, text)
}

func (w *bodyWriter) stringIfAny(name, text string) {
	if text != "" {
		w.string(name, text)
	}
}

func (w *bodyWriter) number(name string, number int64) {
	w.name(name)
	w.out = strconv.AppendInt(w.out, number, 10)
}

func (w *bodyWriter) numberIfAny(name string, number int64) {
	if number != 0 {
		w.number(name, number)
	}
}

func (w *bodyWriter) flag(name string, flag *bool) {
	if flag != nil {
		w.name(name)
		w.out = strconv.AppendBool(w.out, *flag)
	}
}

func (w *bodyWriter) raw(name string, text json.RawMessage) {
	if len(text) > 0 {
		w.name(name)
		w.value(text)
	}
}

// value writes JSON that comes from outside the way encoding/json does: without
// blanks, and with what means something to HTML escaped.
func (w *bodyWriter) value(text json.RawMessage) {
	written, err := json.Marshal(text)
	if err != nil {
		w.err = err
	}
	w.out = append(w.out, written...)
}

func writeNumber[T ~int](w *bodyWriter, name string, number *T) {
	if number != nil {
		w.number(name, int64(*number))
	}
}

func writeList[T any](w *bodyWriter, list []T, write func(*bodyWriter, *T)) {
	if list == nil {
		w.out = append(w.out, "null"...)
		return
	}
	w.out = append(w.out, '[')
	for i := range list {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		write(w, &list[i])
	}
	w.out = append(w.out, ']')
}

// AppendText appends a text as a JSON string, as json.Marshal writes it.
func AppendText(out []byte, text string) []byte {
	if !plain(text) {
		return append(out, mustMarshal(text)...)
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

// plain reports whether nothing of a text has to be escaped.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
