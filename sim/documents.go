package sim

import (
	"fmt"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// document is a document: a service (type 100), a service template (101) or another.
type document struct {
	object
	Type     int               `json:"type"`
	Template template.Template `json:"template"`
	Lock     *documentLock     `json:"lock,omitempty"`
}

// documentLock is one.document.lock: from the level on, only the owner of the lock and oneadmin may act.
type documentLock struct {
	Level int   `json:"level"`
	Owner int   `json:"owner"`
	Time  int64 `json:"time"`
}

var documents = class[document, *document]{kind: kindDocument, words: "document", label: "DOCUMENT", element: "DOCUMENT"}

func (d *document) show(w *xmlrpc.Writer) {
	d.headAndPermissions(w, "TYPE", d.Type)
	if d.Lock != nil {
		w.Group("LOCK", "LOCKED", d.Lock.Level, "OWNER", d.Lock.Owner, "TIME", d.Lock.Time, "REQ_ID", 0)
	}
	d.Template.Write(w, "TEMPLATE")
}

// checkLock refuses a right that the lock blocks: at level 1 (USE) it blocks everything but reading, at 2 MANAGE and ADMIN,
// at 3 ADMIN. It blocks everybody, its owner and administrators too.
func (d *document) checkLock(who identity, needed right) {
	switch {
	case needed == use || d.Lock == nil || int(needed)+1 < d.Lock.Level:
	case who.isAdmin():
		refuse(opennebula.CodeAuthorization, fmt.Sprintf("User [%d] : DOCUMENT is locked. [%d].", who.user.ID, d.ID))
	default:
		who.notAuthorized(fmt.Sprintf("%s DOCUMENT [%d]", needed, d.ID))
	}
}

func documentAllocate(r *request) any {
	parsed := r.template(1)
	refuseIf(parsed.BreaksXML(), opennebula.CodeInternal, "Error transforming the Document to XML.")
	return documents.allocate(r, "document-", parsed, func(head object, content template.Template) *document {
		return &document{object: head, Type: r.int(2), Template: content}
	})
}

// documentPoolInfo is one.documentpool.info(filter, start, end, type), newest first. A page is cut from the documents that
// the list without it shows.
func documentPoolInfo(r *request) any {
	return documents.listed(documents.page(r, func(d *document) bool { return d.Type == r.int(4) && r.who.listed(r.int(1), &d.object) }))
}

func documentUpdate(r *request, d *document) {
	updated := d.Template
	r.update(&updated)
	if !updated.BreaksXML() { // else oned reports success, and keeps the old template
		d.Template = updated.Without("NAME")
	}
}

func documentClone(r *request, source *document) any {
	return documents.save(r.tx, &document{
		object: r.cloud.owned(r.tx.nextID(kindDocument), r.text(2), r.who), Type: source.Type, Template: source.Template,
	})
}

// documentLockCall is one.document.lock(id, level, test): level 1 USE, 2 MANAGE, 3 ADMIN, 4 all of them. A lock does not
// block changes of the lock.
func documentLockCall(r *request, d *document) {
	r.who.authorize(manage, documents.label, &d.object)
	level := r.int(2)
	refuseIf(level < 1 || level > 4, opennebula.CodeAction, "Wrong lock level specified")
	if level == 4 {
		level = 1
	}
	if r.int(3) == 1 && d.Lock != nil {
		panic(&refusal{opennebula.CodeLocked, "The resource is locked", d.ID})
	}
	d.Lock = &documentLock{Level: level, Owner: r.who.user.ID, Time: now()}
}

func documentUnlock(r *request, d *document) {
	r.who.authorize(manage, documents.label, &d.object)
	refuseIf(d.Lock != nil && d.Lock.Owner != r.who.user.ID && !r.who.isAdmin(),
		opennebula.CodeAction, "Cannot unlock: Lock is owned by another user")
	d.Lock = nil
}
