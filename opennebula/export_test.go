package opennebula

import "context"

// Call makes any call.
func Call(ctx context.Context, s *Session, method string, arguments ...any) error {
	return s.do(ctx, method, arguments...)
}
