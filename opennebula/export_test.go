package opennebula

import "context"

// Call makes any call.
func Call(ctx context.Context, s *Session, method string, arguments ...any) error {
	return s.do(ctx, method, arguments...)
}

// Limit sets how large an answer may be, in bytes.
func (c *Client) Limit(size int64) { c.limit = size }
