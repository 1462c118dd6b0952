package sim_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

const alice = "alice:alice"

func TestRefusalsWithoutRights(t *testing.T) {
	s := start(t, sim.Config{})
	document := newDocument(t, s)
	vm := runningVM(t, s)
	for _, one := range []struct {
		method     string
		parameters []any
		want       string
	}{
		{"one.document.info", []any{document}, "perform USE DOCUMENT [0]."},
		{"one.document.update", []any{document, "A=1", 0}, "perform MANAGE DOCUMENT [0]."},
		{"one.document.delete", []any{document}, "perform MANAGE DOCUMENT [0]."},
		{"one.vm.info", []any{vm}, "perform USE VM [0]."},
		{"one.vm.recover", []any{vm, 3}, "perform ADMIN VM [0]."},
		{"one.vn.delete", []any{0}, "perform MANAGE NET [0]."},
		{"one.template.delete", []any{0}, "perform MANAGE TEMPLATE [0]."},
		{"one.user.info", []any{0}, "perform MANAGE USER [0]."},
		{"one.user.allocate", []any{"eve", "eve"}, "perform CREATE USER."},
	} {
		r := call(t, s, one.method, append([]any{alice}, one.parameters...)...)
		want := "[" + one.method + "] User [2] : Not authorized to " + one.want
		if r.ok || r.code != 0x0200 || r.text != want {
			t.Errorf("%s answered %v %d %q, not %q", one.method, r.ok, r.code, r.text, want)
		}
	}
}

func TestPermissionBits(t *testing.T) {
	s := start(t, sim.Config{})
	id := newDocument(t, s)
	chmod := func(bits ...any) { must(t, s, "one.document.chmod", append([]any{oneadmin, id}, bits...)...) }
	info := func() bool { return call(t, s, "one.document.info", alice, id).ok }
	rename := func() bool { return call(t, s, "one.document.rename", alice, id, "n").ok }

	chmod(1, 1, 0, 0, 0, 0, 1, 0, 0)
	if !info() || rename() {
		t.Error("OTHER_U lets alice use it and nothing else")
	}
	chmod(-1, -1, -1, 1, 1, -1, 0, -1, -1)
	if info() {
		t.Error("the group's bits are not alice's")
	}
	must(t, s, "one.document.chown", oneadmin, id, -1, 1)
	if !info() || !rename() {
		t.Error("the group's bits are alice's now")
	}
	if r := call(t, s, "one.document.chmod", alice, id, -1, -1, -1, -1, -1, 1, -1, -1, -1); r.code != 0x0200 {
		t.Errorf("alice gave away ADMIN, which she does not have: %s", r.raw)
	}
	if r := call(t, s, "one.document.chown", alice, id, 0, -1); r.ok || !strings.Contains(r.text, "MANAGE USER [0]") {
		t.Errorf("alice gave the document to oneadmin: %s", r.raw)
	}
	must(t, s, "one.user.chgrp", oneadmin, 2, 0)
	if r := call(t, s, "one.vn.chmod", alice, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1); !r.ok {
		t.Errorf("a member of group oneadmin may do everything: %s", r.raw)
	}
}

func TestPoolsShowWhatTheCallerMaySee(t *testing.T) {
	s := start(t, sim.Config{})
	newDocument(t, s)
	text := "<TEMPLATE><NAME>hers</NAME></TEMPLATE>"
	hers := must(t, s, "one.document.allocate", alice, text, 100).id(t)
	must(t, s, "one.document.allocate", alice, text, 101)
	pool := func(session string, filter, first, last, kind int) int {
		r := must(t, s, "one.documentpool.info", session, filter, first, last, kind)
		return strings.Count(r.text, "<DOCUMENT>")
	}
	for _, one := range []struct {
		session                   string
		filter, first, last, kind int
		want                      int
	}{
		{oneadmin, -2, -1, -1, 100, 2}, {alice, -2, -1, -1, 100, 1}, {alice, -2, -1, -1, 101, 1},
		{oneadmin, -3, -1, -1, 100, 1}, {oneadmin, 2, -1, -1, 100, 1}, {alice, 0, -1, -1, 100, 0},
		{oneadmin, -2, hers, -1, 100, 1}, {oneadmin, -2, 0, 0, 100, 1}, {oneadmin, -1, -1, -1, 100, 1},
	} {
		if got := pool(one.session, one.filter, one.first, one.last, one.kind); got != one.want {
			t.Errorf("%v lists %d documents", one, got)
		}
	}
}

func TestAliceRunsHerOwnVM(t *testing.T) {
	s := start(t, sim.Config{})
	id := must(t, s, "one.template.instantiate", alice, 0, "hers", false, "", false).id(t)
	awaitState(t, s, id, "RUNNING")
	must(t, s, "one.vm.action", alice, "terminate", id)
	awaitState(t, s, id, "DONE")
}

func TestDocumentLock(t *testing.T) {
	s := start(t, sim.Config{})
	text := "<TEMPLATE><NAME>d</NAME></TEMPLATE>"
	id := must(t, s, "one.document.allocate", alice, text, 100).id(t)
	must(t, s, "one.document.lock", oneadmin, id, 2, false)
	for _, who := range []string{alice, oneadmin} {
		if r := call(t, s, "one.document.rename", who, id, "n"); r.code != 0x0200 {
			t.Errorf("a locked document was changed: %s", r.raw)
		}
	}
	if r := call(t, s, "one.document.unlock", alice, id); r.code == 0 {
		t.Errorf("alice has taken oneadmin's lock away: %s", r.raw)
	}
	if shown := must(t, s, "one.document.info", alice, id).text; !strings.Contains(shown, "<LOCK><LOCKED>2</LOCKED>") {
		t.Errorf("the lock is not shown: %s", shown)
	}
	must(t, s, "one.document.unlock", oneadmin, id)
	must(t, s, "one.document.rename", alice, id, "n")
}
