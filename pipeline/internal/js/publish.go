package js

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Publish stores one message and returns its sequence.
func (c *Client) Publish(ctx context.Context, message *nats.Msg) (uint64, error) {
	carryTrace(ctx, message)
	if err := c.publishable(message); err != nil {
		return 0, err
	}
	var sequence uint64
	err := Retry(ctx, func(ctx context.Context) error {
		if err := c.connected(); err != nil {
			return err
		}
		ack, err := c.js.PublishMsg(ctx, message)
		if err != nil {
			return err
		}
		sequence = ack.Sequence
		return nil
	})
	return sequence, err
}
