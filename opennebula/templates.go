package opennebula

import (
	"context"

	"github.com/flowjet/flowjet/flow"
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
func (s *Session) VMTemplate(ctx context.Context, id int) (VMTemplate, error) {
	var found struct {
		ownerXML
		Template struct {
			Inner []byte `xml:",innerxml"`
		} `xml:"TEMPLATE"`
	}
	if err := s.read(ctx, &found, "one.template.info", id, false, false); err != nil {
		return VMTemplate{}, err
	}
	return VMTemplate{
		ID: found.ID, Owner: found.identity(), Name: found.Name, Permissions: found.Permissions,
		Template: found.Template.Inner,
	}, nil
}

// InstantiateTemplate makes a VM and returns its id (one.template.instantiate).
// Extra is template text that is merged into the VM's; hold makes it wait in
// HOLD instead of PENDING.
func (s *Session) InstantiateTemplate(ctx context.Context, id int, name string, hold bool, extra string) (int, error) {
	const persistent = false
	return s.callID(ctx, "one.template.instantiate", id, name, hold, extra, persistent)
}
