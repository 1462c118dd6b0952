package js

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/flowjet/flowjet/internal/poll"
)

func isClosed(lost <-chan struct{}) bool {
	select {
	case <-lost:
		return true
	default:
		return false
	}
}

// A connection that NATS has closed for good is known as such, and no other.
func TestAClosedConnectionIsLost(t *testing.T) {
	c := single(t)
	if isClosed(c.Lost()) {
		t.Fatal("an open connection counts as lost")
	}
	must(t, c.conn.Publish(strings.Repeat("x", 5000), nil))
	poll.Until(t, "the loss to be known", func() bool { return isClosed(c.Lost()) })
	other := single(t)
	other.Close()
	if isClosed(other.Lost()) {
		t.Error("a client that was closed counts as lost")
	}
}

func TestAStreamIsReadAndDeletedByMessage(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		must(t, c.Stream("S").Append(ctx, messages("a", 0, 5), Rules{}))
		must(t, c.Stream("S").Delete(ctx, 5))
		must(t, c.Stream("S").Delete(ctx, 5))
		must(t, c.Stream("S").Delete(ctx, 99))
		last, err := c.Stream("S").Last(ctx, "s.a")
		must(t, err)
		sequence, header, err := c.Stream("S").LastOf(ctx, "s.>")
		must(t, err)
		if string(last.Data) != "3" || sequence != last.Sequence || header.Get(jetstream.MsgIDHeader) != "a-3" {
			t.Errorf("the last is %q, with the header %v", last.Data, header)
		}
		first, err := c.Stream("S").Get(ctx, 1, jetstream.WithGetMsgSubject("s.a"))
		if must(t, err); string(first.Data) != "0" {
			t.Errorf("the first is %q", first.Data)
		}
		must(t, c.Stream("S").Purge(ctx, jetstream.WithPurgeSubject("s.a")))
		none, err := c.Stream("S").Last(ctx, "s.a")
		noSequence, noHeader, headerErr := c.Stream("S").LastOf(ctx, "s.>")
		missing, getErr := c.Stream("S").Get(ctx, 2)
		if err := errors.Join(err, headerErr, getErr); none != nil || noSequence != 0 || noHeader != nil || missing != nil || err != nil {
			t.Errorf("an empty stream has %v, %v, %v (%v)", none, noHeader, missing, err)
		}
		if end, err := c.Stream("S").End(ctx); end != 5 || err != nil {
			t.Errorf("it ends at %d (%v)", end, err)
		}
	})
}

// A message carries the trace of the context that it is stored in, unless it has one.
func TestAMessageCarriesItsTrace(t *testing.T) {
	c := single(t)
	provider := sdktrace.NewTracerProvider()
	ctx, span := provider.Tracer("test").Start(limited(t), "test")
	defer span.End()
	own := message("own", 0)
	own.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	for _, message := range []*nats.Msg{message("traced", 0), own} {
		_, err := c.Publish(ctx, message)
		must(t, err)
	}
	_, err := c.Stream("S").Commit(ctx, message("traced", 1))
	must(t, err)
	must(t, c.Stream("S").Each(ctx, "s.>", 0, func(message Message) {
		traced := strings.Contains(message.Header.Get("traceparent"), span.SpanContext().TraceID().String())
		if traced != (message.Subject == "s.traced") {
			t.Errorf("%s carries %v", message.Subject, message.Header)
		}
	}))
	_, err = c.Publish(context.WithoutCancel(limited(t)), message("untraced", 0))
	must(t, err)
	if _, header, err := c.Stream("S").LastOf(ctx, "s.untraced"); header.Get("traceparent") != "" || err != nil {
		t.Errorf("a message without a trace carries %v (%v)", header, err)
	}
}
