package restapi

import "net/http"

// dispatcher turns endpoints into HTTP handlers: it authenticates the user,
// holds the request to the limits and to its Idempotency-Key, and writes the answer.
type dispatcher struct {
	authenticator *authenticator
	admission     *admission
	idempotency   *idempotency
	oned          sessions
}

// identify returns the request of a user whose credentials are accepted and who
// is within the rate.
func (d *dispatcher) identify(r *http.Request) (*request, error) {
	who, err := d.authenticator.caller(r)
	if err != nil {
		return nil, err
	}
	if err := d.admission.rate(who, r.Method); err != nil {
		return nil, err
	}
	noteUser(r.Context(), who.Identity.UName)
	return &request{Request: r, caller: who, oned: d.oned.as(who.target()), own: isOwn(r)}, nil
}

// handler serves an endpoint.
func (d *dispatcher) handler(serve endpoint) http.Handler {
	serve = d.idempotency.once(serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := d.identify(r)
		if err != nil {
			fail(w, r, err)
			return
		}
		release, err := d.admission.admit(w, r, asked.caller.Identity.UID)
		if err != nil {
			fail(w, r, err)
			return
		}
		defer release()
		if asked.dryRun() {
			asked.oned = readOnly{asked.oned}
		}
		reply, err := serve(r.Context(), asked)
		if err != nil {
			fail(w, r, err)
			return
		}
		reply.write(w, r)
	})
}
