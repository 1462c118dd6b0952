package opennebula

import (
	"bytes"
	"context"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// VMTemplate is a template that VMs are made from.
type VMTemplate struct {
	ID          int
	Owner       flow.Identity
	Name        string
	Permissions Permissions
	// Template is the XML inside TEMPLATE, as oned sent it.
	Template []byte
}

// VMTemplate reads a VM template (one.template.info).
func (s templateCalls) VMTemplate(ctx context.Context, id int) (VMTemplate, error) {
	return object(ctx, s.caller, readVMTemplate, "one.template.info", id, false, false)
}

func readVMTemplate(r *onexml.Reader) (t VMTemplate) {
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			t.ID = r.Int()
		case "NAME":
			t.Name = r.String()
		case "PERMISSIONS":
			t.Permissions = readPermissions(r)
		case "TEMPLATE":
			t.Template = bytes.Clone(r.Inner())
		default:
			readOwner(r, name, &t.Owner)
		}
	})
	return t
}

// InstantiateTemplate makes a VM and returns its id (one.template.instantiate).
// Extra is template text that is merged into the VM's; hold makes it wait in
// HOLD instead of PENDING.
func (s templateCalls) InstantiateTemplate(ctx context.Context, id int, name string, hold bool, extra string) (int, error) {
	const persistent = false
	return s.callID(ctx, "one.template.instantiate", id, name, hold, extra, persistent)
}
