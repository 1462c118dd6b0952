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

// VMTemplates lists VM templates (one.templatepool.info). Filter is as for
// Documents.
func (s *Session) VMTemplates(ctx context.Context, filter int) ([]TemplateEntry, error) {
	const method = "one.templatepool.info"
	text, err := s.call(ctx, method, filter, -1, -1)
	if err != nil {
		return nil, err
	}
	var pool struct {
		Templates []struct {
			ID         int    `xml:"ID"`
			Name       string `xml:"NAME"`
			Registered int64  `xml:"REGTIME"`
		} `xml:"VMTEMPLATE"`
	}
	if err := object(method, text, &pool); err != nil {
		return nil, err
	}
	entries := make([]TemplateEntry, len(pool.Templates))
	for i, found := range pool.Templates {
		entries[i] = TemplateEntry{ID: found.ID, Name: found.Name, Registered: time.Unix(found.Registered, 0)}
	}
	return entries, nil
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
