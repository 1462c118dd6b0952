package opennebula

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// TemplateEntry is a VM template as a list shows it.
type TemplateEntry struct {
	ID   int
	Name string
	// Registered is when it was made, by oned's clock, in whole seconds.
	Registered time.Time
}

func readEntry(r *onexml.Reader) (e TemplateEntry) {
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
func (s templateCalls) VMTemplates(ctx context.Context, filter int) ([]TemplateEntry, error) {
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
