package js

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BucketPrefix makes the name of a bucket's stream.
const BucketPrefix = "KV_"

// Bind looks a stream up, so that it can be used.
func (c *Client) Bind(ctx context.Context, name string) error {
	stream, err := c.js.Stream(ctx, name)
	if err == nil {
		c.streams[name] = stream
	}
	return err
}

// BindBucket looks a bucket up, so that it can be used.
func (c *Client) BindBucket(ctx context.Context, name string) error {
	kv, err := c.js.KeyValue(ctx, name)
	if err == nil {
		c.buckets[name] = &Bucket{c, kv}
	}
	return err
}

// Config is the configuration that a stream had when it was bound.
func (c *Client) Config(stream string) jetstream.StreamConfig {
	if bound := c.streams[stream]; bound != nil {
		return bound.CachedInfo().Config
	}
	return jetstream.StreamConfig{}
}

// Has reports whether a stream is bound.
func (c *Client) Has(stream string) bool { return c.streams[stream] != nil }

// Replicated reports whether a stream is kept by more than one server.
func (c *Client) Replicated(stream string) bool { return c.Config(stream).Replicas > 1 }

// on calls try with a stream, and again for as long as it fails for want of time.
func (c *Client) on(ctx context.Context, name string, try func(context.Context, jetstream.Stream) error) error {
	stream := c.streams[name]
	if stream == nil {
		return jetstream.ErrStreamNotFound
	}
	return Retry(ctx, func(ctx context.Context) error { return try(ctx, stream) })
}

// Info is a stream's state now.
func (c *Client) Info(ctx context.Context, stream string, options ...jetstream.StreamInfoOpt) (info *jetstream.StreamInfo, err error) {
	err = c.on(ctx, stream, func(ctx context.Context, stream jetstream.Stream) (err error) {
		info, err = stream.Info(ctx, options...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask about stream %s: %w", stream, err)
	}
	return info, nil
}

// End is the sequence of the last message that a stream has had: what is read behind
// it is new.
func (c *Client) End(ctx context.Context, stream string) (uint64, error) {
	info, err := c.Info(ctx, stream)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Get reads one message: that of the sequence, or with WithGetMsgSubject the first one
// from there on. It is nil if there is none.
func (c *Client) Get(ctx context.Context, stream string, sequence uint64, options ...jetstream.GetMsgOpt) (message *jetstream.RawStreamMsg, err error) {
	err = c.on(ctx, stream, func(ctx context.Context, stream jetstream.Stream) (err error) {
		message, err = stream.GetMsg(ctx, sequence, options...)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return message, err
}

// Last is the newest message on a subject, nil if there is none.
func (c *Client) Last(ctx context.Context, stream, subject string) (message *jetstream.RawStreamMsg, err error) {
	err = c.on(ctx, stream, func(ctx context.Context, stream jetstream.Stream) (err error) {
		message, err = stream.GetLastMsgForSubject(ctx, subject)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return message, err
}

// LastHeader is the header of the newest message on any of the subjects that a filter
// matches, nil if there is none. The stream's leader is asked: another replica may
// lag behind. nats.go asks for one subject only, and any replica.
func (c *Client) LastHeader(ctx context.Context, stream, filter string) (header nats.Header, err error) {
	err = Retry(ctx, func(ctx context.Context) (err error) {
		header, err = c.lastHeader(ctx, stream, filter)
		return err
	})
	if Code(err) == jetstream.JSErrCodeMessageNotFound {
		return nil, nil
	}
	return header, err
}

// Delete deletes a message. One that is gone is no error.
func (c *Client) Delete(ctx context.Context, stream string, sequence uint64) error {
	err := c.on(ctx, stream, func(ctx context.Context, stream jetstream.Stream) error { return stream.DeleteMsg(ctx, sequence) })
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	return err
}

// Purge removes messages of a stream.
func (c *Client) Purge(ctx context.Context, stream string, which ...jetstream.StreamPurgeOpt) error {
	return c.on(ctx, stream, func(ctx context.Context, stream jetstream.Stream) error { return stream.Purge(ctx, which...) })
}

func (c *Client) lastHeader(ctx context.Context, stream, filter string) (nats.Header, error) {
	request := []byte(`{"last_by_subj":` + strconv.Quote(filter) + `}`)
	answer, err := c.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return nil, err
	}
	var found struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return nil, fmt.Errorf("read the answer of stream %s: %w", stream, err)
	}
	if found.Error != nil {
		return nil, &serverError{found.Error}
	}
	return nats.DecodeHeadersMsg(found.Message.Header)
}
