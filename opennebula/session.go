package opennebula

import (
	"context"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Session makes calls as one user. It is cheap, and safe for concurrent use. Its
// methods are those of the objects that they are about.
type Session struct {
	*caller
	documentCalls
	vmCalls
	scheduledCalls
	templateCalls
	networkCalls
	routerCalls
}

type (
	documentCalls  struct{ *caller }
	vmCalls        struct{ *caller }
	scheduledCalls struct{ *caller }
	templateCalls  struct{ *caller }
	networkCalls   struct{ *caller }
	routerCalls    struct{ *caller }
)

func newSession(c *caller) *Session {
	return &Session{c, documentCalls{c}, vmCalls{c}, scheduledCalls{c}, templateCalls{c}, networkCalls{c}, routerCalls{c}}
}

// caller makes the calls of a session, and those about users and the zone.
type caller struct {
	client *exchange
	// current gives the session string, which may be renewed between calls.
	current func() string
	// secret is the user's own password or token; empty in server sessions.
	secret string
	// group is the group that a scoped target names, or -1.
	group int
	// target is whom the server user acts for; empty in a user's own session.
	target string
	// confirmed has reads answered by a server that certainly led the zone.
	confirmed bool
}

// Server is the session of the server user itself.
func (c *Client) Server() *Session { return c.For(c.tokens.user) }

// For is the session in which the server user acts for another. A target of
// the form "name:gid" keeps the group of a scoped login token.
func (c *Client) For(user string) *Session {
	name, group := splitTarget(user)
	return newSession(&caller{client: c.exchange, group: group, target: name, current: func() string { return c.tokens.session(user) }})
}

// With is a user's own session, with a password or a login token, which oned
// compares as they are. Making calls for one user alternately in such a session
// and in one of For's costs 200-320 ms a call in oned: Authenticate checks a
// secret, and all else is done in For's.
func (c *Client) With(name, secret string) *Session {
	session := name + ":" + secret
	return newSession(&caller{client: c.exchange, secret: secret, group: -1, current: func() string { return session }})
}

// Confirmed returns a session of the same user whose reads are answered by the server
// that led the zone, in one term, before and after the answer. A follower's database is
// behind, so what shrinks, ends or forgets anything is decided from such a read. Without
// certainty a read ends in an error that is Temporary (ErrUnconfirmed). In a zone of
// one server it is the same session.
func (s *Session) Confirmed() *Session {
	confirmed := *s.caller
	confirmed.confirmed = true
	return newSession(&confirmed)
}

// readAs makes a call whose answer is a text, and reads it by of. The text lasts
// until that returns: what is kept of it has to be copied.
func readAs[T any](ctx context.Context, c *caller, of func(text []byte) (T, error), method string, arguments ...any) (T, error) {
	var none T
	received, err := c.client.call(ctx, c, method, arguments)
	if err != nil {
		return none, err
	}
	defer received.release()
	text, err := received.textValue(method)
	if err != nil {
		return none, err
	}
	return of(text)
}

// object makes a call whose answer is an object's XML, which of reads.
func object[T any](ctx context.Context, c *caller, of func(r *onexml.Reader) T, method string, arguments ...any) (T, error) {
	return readAs(ctx, c, func(text []byte) (T, error) { return readObject(method, text, of) }, method, arguments...)
}

// pool makes a call whose answer is a pool of objects, elements of the name, each
// of which of reads.
func pool[T any](ctx context.Context, c *caller, name string, of func(r *onexml.Reader) T, method string, arguments ...any) ([]T, error) {
	return readAs(ctx, c, func(text []byte) ([]T, error) { return readPool(method, text, name, of) }, method, arguments...)
}

func (c *caller) callID(ctx context.Context, method string, arguments ...any) (int, error) {
	received, err := c.client.call(ctx, c, method, arguments)
	if err != nil {
		return 0, err
	}
	defer received.release()
	if id, isID := received.value.(int64); isID {
		return int(id), nil
	}
	return 0, unexpected(method, received.value)
}

func (c *caller) do(ctx context.Context, method string, arguments ...any) error {
	received, err := c.client.call(ctx, c, method, arguments)
	if err == nil {
		received.release()
	}
	return err
}

// Version is oned's, "7.4.0" (one.system.version).
func (c *caller) Version(ctx context.Context) (string, error) {
	return readAs(ctx, c, func(text []byte) (string, error) { return string(text), nil }, "one.system.version")
}
