package sim

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/opennebula"
)

// document is a document: a service (type 100), a service template (101) or
// anything else.
type document struct {
	object
	Type     int           `json:"type"`
	Template template      `json:"template"`
	Lock     *documentLock `json:"lock,omitempty"`
}

// documentLock is one.document.lock: from the level on, only the owner of the
// lock and oneadmin may.
type documentLock struct {
	Level int   `json:"level"`
	Owner int   `json:"owner"`
	Time  int64 `json:"time"`
}

func (d *document) show(b *xmlWriter) {
	open(b, "DOCUMENT")
	d.head(b)
	number(b, "TYPE", d.Type)
	d.Permissions.write(b)
	if d.Lock != nil {
		open(b, "LOCK")
		number(b, "LOCKED", d.Lock.Level)
		number(b, "OWNER", d.Lock.Owner)
		moment(b, "TIME", d.Lock.Time)
		number(b, "REQ_ID", 0)
		shut(b, "LOCK")
	}
	d.Template.write(b, "TEMPLATE")
	shut(b, "DOCUMENT")
}

var documents = class[document, *document]{
	kind: kindDocument, words: "document", label: "DOCUMENT", root: "DOCUMENT_POOL",
	pool: func(c *cloud) pool[document] { return c.documents },
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
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	if parsed.breaksXML() {
		return refusedAnswer(refuse(opennebula.CodeInternal, "Error transforming the Document to XML."))
	}
	return documents.allocate(r, "document-", parsed, func(head object, content template) *document {
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
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "DOCUMENT_POOL")
		for _, id := range r.page(2).cut(listed) {
			r.cloud.documents[id].show(b)
		}
		shut(b, "DOCUMENT_POOL")
	})
}

func documentUpdate(r *request, d *document) *refusal {
	updated, refused := updatedTemplate(d.Template, r.text(2), r.int(3))
	if refused == nil && !updated.breaksXML() { // else oned reports success, and keeps the old one
		d.Template = updated.without("NAME")
	}
	return refused
}

func documentClone(r *request) answer {
	source, refused := documents.find(r, r.int(1), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	id := r.tx.nextID(kindDocument)
	documents.save(r.tx, &document{object: r.cloud.owned(id, r.text(2), r.who), Type: source.Type, Template: source.Template})
	return idAnswer(id)
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
	if r.flag(3) && d.Lock != nil {
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
