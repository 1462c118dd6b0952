package opennebula

import "context"

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
