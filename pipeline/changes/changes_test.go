package changes

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
	"github.com/flowjet/flowjet/pipeline/work"
)

// zone is what the tests change something in.
type zone struct {
	t       *testing.T
	ctx     context.Context
	p       *pipeline.Pipeline
	changes *Changes
}

// call stores the event of a call.
func (z zone) call(name string, id int, ok bool) {
	z.t.Helper()
	event := pipeline.Event{Version: pipeline.Version, Object: "api", Call: name, ID: id, OK: ok}
	message := nats.NewMsg(pipeline.CallSubject(z.p.Zone(), name, ok))
	message.Data = pipeline.Encode(&event)
	_, err := z.p.Publish(z.ctx, message)
	must(z.t, err)
}

// since returns what has changed since a point, and the point behind it.
func (z zone) since(from Point, most int) (Changed, bool, Point) {
	z.t.Helper()
	to, err := z.changes.LastChange(z.ctx)
	must(z.t, err)
	changed, known, err := z.changes.ChangedBetween(z.ctx, from, to, most)
	must(z.t, err)
	return changed, known, to
}

func newZone(t *testing.T) zone {
	p := pipetest.Single(t)
	return zone{t, limited(t), p, New(p)}
}

func TestWhatHasChangedIsFound(t *testing.T) {
	z := newZone(t)
	records := work.NewRecords(z.p)
	_, known, from := z.since(Point{}, 10)
	if !known || from != (Point{}) {
		t.Errorf("at first: %v, %v", known, from)
	}
	z.call("one.vm.update", 1, true)
	if _, known, to := z.since(from, 10); !known || to != from {
		t.Error("a VM's change counts")
	}
	revision, err := records.SaveRecord(z.ctx, 42, pipeline.Record{}, 0)
	must(t, err)
	_, err = records.SaveRecord(z.ctx, 43, pipeline.Record{Deleted: true}, 0)
	must(t, err)
	z.call("one.document.update", 5, true)
	z.call("one.document.update", 6, false)
	z.call("one.document.allocate", 7, true)
	z.call("one.document.chown", 8, true)
	z.call("one.user.login", 2, true)
	z.call("one.group.delete", 2, false)
	changed, known, to := z.since(from, 10)
	if !known || fmt.Sprint(changed) != "{[42] [43 5] [7 8]}" {
		t.Errorf("changed is %v, %v", changed, known)
	}
	if changed, known, _ = z.since(to, 10); !known || len(slices.Concat(changed.Decided, changed.Written, changed.Granted)) > 0 {
		t.Errorf("behind it there are %v, %v", changed, known)
	}
	_, err = records.SaveRecord(z.ctx, 42, pipeline.Record{}, revision)
	must(t, err)
	if changed, _, _ = z.since(to, 10); fmt.Sprint(changed) != "{[42] [] []}" {
		t.Errorf("changed is %v", changed)
	}
	if _, known, _ = z.since(from, 2); known {
		t.Error("more than most is known")
	}
}

// TestAnythingMayHaveChanged after calls that decide who may see what, and after those of
// which the document is not known.
func TestAnythingMayHaveChanged(t *testing.T) {
	z := newZone(t)
	for call, want := range map[string]bool{
		"one.acl.addrule": false, "one.acl.delrule": false, "one.user.addgroup": false, "one.user.delgroup": false, "one.user.chgrp": false,
		"one.user.delete": false, "one.group.delete": false, "one.group.addadmin": false, "one.user.something": false,
		"one.user.login": true, "one.user.passwd": true, "one.user.update": true, "one.group.quota": true, "one.group.allocate": true,
	} {
		_, _, from := z.since(Point{}, 100)
		z.call(call, 3, true)
		if _, known, _ := z.since(from, 10); known != want {
			t.Errorf("after %s: %v", call, known)
		}
		z.call(call, 3, false)
	}
	_, _, from := z.since(Point{}, 100)
	z.call("one.document.allocate", -1, true)
	if _, known, _ := z.since(from, 10); known {
		t.Error("a document that is not known is")
	}
	if _, _, err := z.changes.ChangedBetween(z.ctx, Point{}, Point{fromDocuments: 1 << 40}, 100); err != nil {
		t.Error(err)
	}
	if _, known, _ := z.changes.ChangedBetween(z.ctx, from, Point{fromDocuments: 1 << 40}, 100); known {
		t.Error("what the replica that is read does not have yet is known")
	}
	later := from
	later[fromDocuments] += 1000
	if _, known, err := z.changes.ChangedBetween(z.ctx, later, from, 100); known || err != nil {
		t.Errorf("what a stream has lost since is known: %v, %v", known, err)
	}
}
