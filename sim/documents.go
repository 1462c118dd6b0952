package sim

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// document is a document: a service (type 100), a service template (101) or anything else.
type document struct {
	object
	Type     int               `json:"type"`
	Template template.Template `json:"template"`
	Lock     *documentLock     `json:"lock,omitempty"`
}

// documentLock is one.document.lock: from the level on, only the owner of the
// lock and oneadmin may.
type documentLock struct {
	Level int   `json:"level"`
	Owner int   `json:"owner"`
	Time  int64 `json:"time"`
}

var documents = class[document, *document]{
	kind: kindDocument, words: "document", label: "DOCUMENT", element: "DOCUMENT",
	pool: func(c *cloud) pool[document] { return c.documents },
}

func (d *document) show(w *xmlrpc.Writer) {
	d.headAndPermissions(w, "TYPE", d.Type)
	if d.Lock != nil {
		w.Group("LOCK", "LOCKED", d.Lock.Level, "OWNER", d.Lock.Owner, "TIME", d.Lock.Time, "REQ_ID", 0)
	}
	d.Template.Write(w, "TEMPLATE")
}

// locked is oned's refusal where the lock stops a right: at level 1 (USE) it
// stops everything but reading, at 2 MANAGE and ADMIN, at 3 ADMIN. It keeps
// everybody out, its owner and administrators too.
func (d *document) locked(who identity, needed right) *refusal {
	switch {
	case needed == use || d.Lock == nil || int(needed)+1 < d.Lock.Level:
		return nil
	case who.isAdmin():
		return refuse(opennebula.CodeAuthorization, fmt.Sprintf("User [%d] : DOCUMENT is locked. [%d].", who.user.ID, d.ID))
	}
	return who.notAuthorized(fmt.Sprintf("%s DOCUMENT [%d]", needed, d.ID))
}

func documentAllocate(r *request) answer {
	parsed, err := template.Parse(r.text(1))
	if err != nil {
		return answer{refusal: badTemplate(err)}
	}
	if parsed.BreaksXML() {
		return answer{refusal: refuse(opennebula.CodeInternal, "Error transforming the Document to XML.")}
	}
	return documents.allocate(r, "document-", parsed, func(head object, content template.Template) *document {
		return &document{object: head, Type: r.int(2), Template: content}
	})
}

// documentPoolInfo is one.documentpool.info(filter, start, end, type), newest
// first. A page is one of those documents that would be listed without it.
func documentPoolInfo(r *request) answer {
	var listed []int
	for id, item := range r.cloud.documents {
		if item.Type == r.int(4) && r.who.listed(r.int(1), &item.object) {
			listed = append(listed, id)
		}
	}
	slices.Sort(listed)
	slices.Reverse(listed)
	return documents.listed(r.cloud.documents, r.page(2).cut(listed))
}

func documentUpdate(r *request, d *document) *refusal {
	updated := d.Template
	refused := r.update(&updated)
	if refused == nil && !updated.BreaksXML() { // else oned reports success, and keeps the old one
		d.Template = updated.Without("NAME")
	}
	return refused
}

func documentClone(r *request, source *document) answer {
	made := &document{
		object: r.cloud.owned(r.tx.nextID(kindDocument), r.text(2), r.who), Type: source.Type, Template: source.Template,
	}
	return documents.changed(r, made, nil)
}

// documentLockCall is one.document.lock(id, level, test): level 1 USE, 2
// MANAGE, 3 ADMIN, 4 all of them. A lock does not keep it from changing.
func documentLockCall(r *request, d *document) *refusal {
	if refused := r.who.authorize(manage, documents.label, &d.object); refused != nil {
		return refused
	}
	level := r.int(2)
	if level < 1 || level > 4 {
		return refuse(opennebula.CodeAction, "Wrong lock level specified")
	}
	if level == 4 {
		level = 1
	}
	if r.int(3) == 1 && d.Lock != nil {
		return &refusal{code: opennebula.CodeLocked, object: d.ID, message: "The resource is locked"}
	}
	d.Lock = &documentLock{Level: level, Owner: r.who.user.ID, Time: now()}
	return nil
}

func documentUnlock(r *request, d *document) *refusal {
	if refused := r.who.authorize(manage, documents.label, &d.object); refused != nil {
		return refused
	}
	if d.Lock != nil && d.Lock.Owner != r.who.user.ID && !r.who.isAdmin() {
		return refuse(opennebula.CodeAction, "Cannot unlock: Lock is owned by another user")
	}
	d.Lock = nil
	return nil
}
