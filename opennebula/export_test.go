package opennebula

import "context"

// Call makes any call.
func Call(ctx context.Context, s *Session, method string, arguments ...any) error {
	return s.do(ctx, method, arguments...)
}

// Endpoint returns the XML-RPC address of the next call.
func (c *Client) Endpoint() string {
	endpoint, _ := c.leader.endpoint()
	return endpoint
}

// Limit sets how large an answer may be, in bytes.
func (c *Client) Limit(size int64) { c.limit = size }
