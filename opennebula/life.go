package opennebula

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Life changes when the answering oned may have a different database than before: oned was
// down, or another server leads the zone.
type Life struct{ term, ends int }

// Life returns the life of oned as far as calls have found out.
func (e *exchange) Life() Life {
	life := Life{}
	life.ends, _, _ = e.restarts.counted()
	if e.leader.hasChoice() {
		life.term, _ = e.leader.leadership()
	}
	return life
}

// ErrOtherLife is the cause of an error of a call that was bound to an earlier life of
// oned. The call has not left.
var ErrOtherLife = errors.New("oned was restarted, or another server leads the zone, since the call was planned")

type lifeKey struct{}

// Within returns a context whose calls are made in that life of oned only; otherwise they fail
// with ErrOtherLife.
func Within(ctx context.Context, life Life) context.Context {
	return context.WithValue(ctx, lifeKey{}, life)
}

// bind makes a request fail if its call is bound to a life that has ended.
func (e *exchange) bind(request *http.Request, body []byte) {
	life, bound := request.Context().Value(lifeKey{}).(Life)
	if !bound {
		return
	}
	request.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(&boundBody{bytes.NewReader(body), e, life}), nil
	}
	request.Body, _ = request.GetBody()
}

// boundBody is read when its call has a connection. A connection to a oned that has ended since is
// closed, so no call reaches the next life unless the end went unnoticed.
type boundBody struct {
	io.Reader
	exchange *exchange
	life     Life
}

func (b *boundBody) Read(into []byte) (int, error) {
	if b.life != b.exchange.Life() {
		return 0, ErrOtherLife
	}
	return b.Reader.Read(into)
}

// restarts counts how often oneds were down and came back: a oned without others has then lost
// the actions of its drivers, as at the death of a leader.
type restarts struct {
	mutex sync.Mutex
	down  map[string]bool // by endpoint
	// ended counts the oneds that were found down, and returned those that came back.
	ended, returned int
	since           time.Time
}

// note takes the end of a call into account: an error without one is an answer. Only a
// refused connection proves that no oned runs.
func (r *restarts) note(endpoint string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && !r.down[endpoint]:
		if r.down == nil {
			r.down = map[string]bool{}
		}
		r.down[endpoint] = true
		r.ended++
	case err == nil && r.down[endpoint]:
		delete(r.down, endpoint)
		r.returned++
		r.since = time.Now()
	}
}

// counted returns how many lives of oneds are known to have ended, how many have begun
// after that, and when the last one did.
func (r *restarts) counted() (ended, returned int, since time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ended, r.returned, r.since
}

// pulse tracks whether oned answers, as far as calls have found out.
type pulse struct {
	mutex   sync.Mutex
	waiting int
	// since is when the silence began: with the first call that has no answer
	// yet, or got none. Zero means no silence.
	since time.Time
}

func (p *pulse) begin() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.waiting++
	if p.since.IsZero() {
		p.since = time.Now()
	}
}

// end ends a call. A refusal is an answer too.
func (p *pulse) end(answered bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.waiting--
	switch {
	case !answered:
	case p.waiting == 0:
		p.since = time.Time{}
	default:
		p.since = time.Now()
	}
}
