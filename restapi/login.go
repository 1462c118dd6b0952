package restapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	loginCookie = "flowjet_session"
	// loginLife is how long a login lasts.
	loginLife = 8 * time.Hour
)

// login is what a session's cookie holds, sealed: no password and no token, but a
// digest by which it ends with them.
type login struct {
	// User is the user's name, with the group of a scoped token.
	User  string    `json:"user"`
	Proof string    `json:"proof"`
	Ends  time.Time `json:"ends"`
}

// logins are the page's sessions. They are kept in the browsers' cookies alone, sealed with
// a key that all APIs of a zone share.
type logins struct {
	oned sessions
	box  *seal.Box
	// sameOrigin refuses changes that other sites have a browser send with its cookie.
	sameOrigin *http.CrossOriginProtection
}

// check returns the user of a cookie, and when the login ends. Like refused credentials a
// login that has ended gives an error with CodeAuthentication.
func (l *logins) check(ctx context.Context, cookie string) (opennebula.User, time.Time, error) {
	ended := &opennebula.Error{Method: "login", Code: opennebula.CodeAuthentication, Message: "the session has ended"}
	var held login
	text, err := l.box.Open(cookie)
	if err != nil || json.Unmarshal(text, &held) != nil || !time.Now().Before(held.Ends) {
		return opennebula.User{}, time.Time{}, ended
	}
	user, err := l.oned.as(held.User).User(ctx, -1)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return opennebula.User{}, time.Time{}, ended
	case err != nil:
		return opennebula.User{}, time.Time{}, err
	case !user.Holds(held.Proof, time.Now()):
		return opennebula.User{}, time.Time{}, ended
	}
	return user, held.Ends, nil
}

// loginView is the answer of /flowjet/v1/session.
type loginView struct {
	User  string `json:"user"`
	UID   int    `json:"uid"`
	Group string `json:"group"`
	// Administrator is true for oneadmin and members of its group.
	Administrator bool `json:"administrator"`
}

func showLogin(_ context.Context, r *request) (answer, error) {
	who := r.caller
	return pretty(http.StatusOK, loginView{who.Identity.UName, who.Identity.UID, who.Identity.GName, who.isAdmin()})
}

// begin makes a session of Basic authentication, for users who log in by themselves.
func (l *logins) begin(ctx context.Context, r *request) (answer, error) {
	name, secret, given := r.BasicAuth()
	if !given || name != r.caller.Identity.UName {
		return answer{}, &statusError{http.StatusForbidden, "a session needs the name and the password or token of the user, not of a server user"}
	}
	user, err := r.oned.User(ctx, -1)
	if err != nil {
		return answer{}, err
	}
	text, err := json.Marshal(login{r.caller.target(), user.Proof(secret), time.Now().Add(loginLife)})
	if err != nil {
		return answer{}, err
	}
	reply, err := showLogin(ctx, r)
	reply.cookie = l.cookie(r.Request, l.box.Seal(text), loginLife)
	return reply, err
}

func (l *logins) end(w http.ResponseWriter, r *http.Request) {
	if err := l.sameOrigin.Check(r); err != nil {
		fail(w, r, &statusError{http.StatusForbidden, err.Error()})
		return
	}
	answer{status: http.StatusNoContent, cookie: l.cookie(r, "", -time.Second)}.write(w, r)
}

func (l *logins) cookie(r *http.Request, value string, life time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: loginCookie, Value: value, Path: "/flowjet", MaxAge: int(life / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		// A balancer in front may end TLS.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}
