package opennebula

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

// Life is another one when whoever answers may have another database than before: oned was
// away, or another server leads the zone.
type Life struct{ term, ends int }

// Life returns the life of oned by what calls have found out until now.
func (e *exchange) Life() Life {
	life := Life{ends: e.restarts.ends()}
	if e.leader.hasChoice() {
		life.term, _ = e.leader.leadership()
	}
	return life
}

// ErrOtherLife is the cause of an error of a call that was bound to a life of oned that has
// ended. The call has not left.
var ErrOtherLife = errors.New("oned was restarted, or another server leads the zone, since the call was planned")

type lifeKey struct{}

// Within returns a context whose calls are made in that life of oned only, else they fail
// with ErrOtherLife.
func Within(ctx context.Context, life Life) context.Context {
	return context.WithValue(ctx, lifeKey{}, life)
}

// bind has a request fail whose call is bound to a life that has ended.
func (e *exchange) bind(request *http.Request, body []byte) {
	life, bound := request.Context().Value(lifeKey{}).(Life)
	if !bound {
		return
	}
	request.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(&boundBody{bytes.NewReader(body), func() bool { return life == e.Life() }}), nil
	}
	request.Body, _ = request.GetBody()
}

// boundBody is read when its call has a connection. One to a oned that has ended since is
// closed, so nothing that leaves reaches the next life unless nobody has noticed the end.
type boundBody struct {
	io.Reader
	lives func() bool
}

func (b *boundBody) Read(into []byte) (int, error) {
	if !b.lives() {
		return 0, ErrOtherLife
	}
	return b.Reader.Read(into)
}
