package opennebula

import (
	"context"
	"time"
)

// TemplateEntry is a VM template as a list shows it.
type TemplateEntry struct {
	ID   int
	Name string
	// Registered is when it was made, by oned's clock, in whole seconds.
	Registered time.Time
}

// entryXML is the part of a VM template's XML that is read for a list.
type entryXML struct {
	ID         int    `xml:"ID"`
	Name       string `xml:"NAME"`
	Registered int64  `xml:"REGTIME"`
}

func (e entryXML) entry() TemplateEntry {
	return TemplateEntry{ID: e.ID, Name: e.Name, Registered: time.Unix(e.Registered, 0)}
}

// VMTemplates lists VM templates (one.templatepool.info). Filter is as for
// Documents.
func (s *Session) VMTemplates(ctx context.Context, filter int) ([]TemplateEntry, error) {
	return readPool(ctx, s, entryXML.entry, "one.templatepool.info", filter, -1, -1)
}

// CloneVMTemplate copies a VM template under a new name and returns the copy's
// id (one.template.clone). With images its images are copied too.
func (s *Session) CloneVMTemplate(ctx context.Context, id int, name string, images bool) (int, error) {
	return s.callID(ctx, "one.template.clone", id, name, images)
}

// DeleteVMTemplate removes a VM template (one.template.delete), with images
// also those that it uses.
func (s *Session) DeleteVMTemplate(ctx context.Context, id int, images bool) error {
	return s.do(ctx, "one.template.delete", id, images)
}
