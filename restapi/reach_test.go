package restapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/flowjet/flowjet/opennebula"
)

// lostCopy has the answer to each copying of a VM template get lost.
type lostCopy struct{ sessions }

func (l lostCopy) as(user string, guard opennebula.Guard) session {
	return lossyCopies{l.sessions.as(user, guard)}
}

type lossyCopies struct{ session }

func (l lossyCopies) CloneVMTemplate(ctx context.Context, id int, name string, images bool) (int, error) {
	if _, err := l.session.CloneVMTemplate(ctx, id, name, images); err != nil {
		return 0, err
	}
	return 0, &opennebula.TransportError{Method: "one.template.clone", Sent: true, Err: errors.New("cut off")}
}

// TestAKeyedCloneTakesTheCopiesOfTheFirstAttempt: a clone that broke off after it
// had copied a VM template is gone on with, and copies nothing twice.
func TestAKeyedCloneTakesTheCopiesOfTheFirstAttempt(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(admin)
	cloned := w.calls("one.template.clone")
	dying, err := newServer(withDefaults(Config{}), w.pipe, lostCopy{oned{w.oned}}, w.oned.Box())
	w.must(err)
	server := httptest.NewServer(dying.handler)
	defer server.Close()
	broken := *w
	broken.url = server.URL
	clone := perform("clone", `{"name":"c5"}`)
	if got := broken.call(admin, "POST", template+"/action", clone, key, "k10"); got.status != 503 {
		t.Fatalf("got %+v", got)
	}
	got := w.call(admin, "POST", template+"/action", clone, key, "k10")
	if got.status != 201 || len(cloned()) != 1 {
		t.Fatalf("the repetition: %+v after %d copies", got, len(cloned()))
	}
	_, body := w.document(got)
	found, err := w.oned.For("oneadmin").VMTemplate(t.Context(), body.Roles[0].TemplateID)
	w.must(err)
	if found.Name != "alpine-c5" {
		t.Errorf("the roles have VM template %d, %q", found.ID, found.Name)
	}
}
