package opennebula

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// VMTemplate is a template that VMs are made from.
type VMTemplate struct {
	ID   int
	Name string
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
		case "TEMPLATE":
			t.Template = bytes.Clone(r.Inner())
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

// PoolEntry is an object as a list shows it.
type PoolEntry struct {
	ID   int
	Name string
	// Registered is when a VM template was created, by oned's clock, in whole seconds.
	Registered time.Time
}

func readEntry(r *onexml.Reader) (e PoolEntry) {
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			e.ID = r.Int()
		case "NAME":
			e.Name = r.String()
		case "REGTIME":
			e.Registered = time.Unix(int64(r.Int()), 0)
		}
	})
	return e
}

// VMTemplates lists VM templates (one.templatepool.info). Filter is as for
// Documents.
func (s templateCalls) VMTemplates(ctx context.Context, filter int) ([]PoolEntry, error) {
	return pool(ctx, s.caller, "VMTEMPLATE", readEntry, "one.templatepool.info", filter, -1, -1)
}

// CloneVMTemplate copies a VM template under a new name and returns the copy's
// id (one.template.clone). With images its images are copied too.
func (s templateCalls) CloneVMTemplate(ctx context.Context, id int, name string, images bool) (int, error) {
	return s.callID(ctx, "one.template.clone", id, name, images)
}

// DeleteVMTemplate removes a VM template (one.template.delete), with images
// also those that it uses.
func (s templateCalls) DeleteVMTemplate(ctx context.Context, id int, images bool) error {
	return s.do(ctx, "one.template.delete", id, images)
}

// Tree is the VM template's attributes.
func (t VMTemplate) Tree() (one.Template, error) {
	tree, err := readTree([]byte("<TEMPLATE>" + string(t.Template) + "</TEMPLATE>"))
	if err != nil {
		return nil, fmt.Errorf("read VM template %d: %w", t.ID, err)
	}
	return tree, nil
}

func readTree(text []byte) (one.Template, error) {
	r := onexml.New(text)
	r.Root()
	tree, _ := readInside(r)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read the object's XML: %w", err)
	}
	return tree, nil
}

// readInside reads the element that was begun last: the elements in it, nil for
// none, and the text.
func readInside(r *onexml.Reader) (tree one.Template, text string) {
	text = r.Content(func(name []byte) {
		attribute := one.Attribute{Name: string(name)}
		if attribute.Vector, attribute.Value = readInside(r); attribute.Vector != nil {
			attribute.Value = ""
		}
		tree = append(tree, attribute)
	})
	return tree, text
}
