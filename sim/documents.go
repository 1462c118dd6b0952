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
	Level   int   `json:"level"`
	Owner   int   `json:"owner"`
	Time    int64 `json:"time"`
	Request int   `json:"request"`
}

func (d *document) write(b *xmlWriter) {
	open(b, "DOCUMENT")
	d.head(b)
	number(b, "TYPE", d.Type)
	d.Permissions.write(b)
	if d.Lock != nil {
		open(b, "LOCK")
		number(b, "LOCKED", d.Lock.Level)
		number(b, "OWNER", d.Lock.Owner)
		moment(b, "TIME", d.Lock.Time)
		number(b, "REQ_ID", d.Lock.Request)
		shut(b, "LOCK")
	}
	d.Template.write(b, "TEMPLATE")
	shut(b, "DOCUMENT")
}

// lockedFor reports whether the lock stops a right: at level 1 (USE) it stops
// everything, at 2 MANAGE and ADMIN, at 3 ADMIN.
func (d *document) lockedFor(r right) bool {
	return d.Lock != nil && int(r)+1 >= d.Lock.Level
}

// documentFor finds the document of parameter 1 that the caller has a right
// on and that is not locked for it.
func documentFor(r *request, needed right) (*document, *refusal) {
	found := r.cloud.documents[r.int(1)]
	if found == nil {
		return nil, notFound("document", r.int(1))
	}
	if refused := r.who.authorize(needed, "DOCUMENT", &found.object); refused != nil {
		return nil, refused
	}
	// A lock keeps everybody out, its owner and administrators too.
	switch {
	case needed == use || !found.lockedFor(needed):
	case r.who.isAdmin():
		return nil, refuse(opennebula.CodeAuthorization, fmt.Sprintf("User [%d] : DOCUMENT is locked. [%d].", r.who.user.ID, found.ID))
	default:
		return nil, r.who.notAuthorized(fmt.Sprintf("%s DOCUMENT [%d]", needed, found.ID))
	}
	return found, nil
}

func (r *request) keepDocument(d *document) {
	r.cloud.documents[d.ID] = d
	r.tx.save(kindDocument, d.ID, d)
}

func documentAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	if parsed.breaksXML() {
		return refusedAnswer(refuse(opennebula.CodeInternal, "Error transforming the Document to XML."))
	}
	id := r.tx.nextID(kindDocument)
	name := parsed.text("NAME")
	if name == "" {
		name = "document-" + itoa(id)
	}
	made := &document{object: r.cloud.owned(id, name, r.who), Type: r.int(2), Template: parsed.without("NAME")}
	r.keepDocument(made)
	r.extra = xmlText(made.write)
	return idAnswer(id)
}

func documentInfo(r *request) answer {
	found, refused := documentFor(r, use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(found.write)
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
			r.cloud.documents[id].write(b)
		}
		shut(b, "DOCUMENT_POOL")
	})
}

// changeDocument lets the change have the document and keeps the outcome.
func changeDocument(r *request, change func(d *document) *refusal) answer {
	found, refused := documentFor(r, manage)
	return r.changed(found, refused, change)
}

// changeLock is changeDocument although a lock is there.
func changeLock(r *request, change func(d *document) *refusal) answer {
	found, refused := documentFor(r, use)
	if refused == nil {
		refused = r.who.authorize(manage, "DOCUMENT", &found.object)
	}
	return r.changed(found, refused, change)
}

func (r *request) changed(found *document, refused *refusal, change func(d *document) *refusal) answer {
	if refused == nil {
		refused = change(found)
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.keepDocument(found)
	return idAnswer(found.ID)
}

func documentUpdate(r *request) answer {
	return changeDocument(r, func(d *document) *refusal {
		updated, refused := updatedTemplate(d.Template, r.text(2), r.int(3))
		if refused == nil && !updated.breaksXML() { // else oned reports success, and keeps the old one
			d.Template = updated.without("NAME")
		}
		return refused
	})
}

func documentRename(r *request) answer {
	return changeDocument(r, func(d *document) *refusal {
		if reason := badName(r.text(2)); reason != "" {
			return refuse(opennebula.CodeAction, reason)
		}
		d.Name = r.text(2)
		return nil
	})
}

func documentChmod(r *request) answer {
	return changeDocument(r, func(d *document) *refusal {
		return chmod(r.who, &d.object, "DOCUMENT", r.bits())
	})
}

func documentChown(r *request) answer {
	return changeDocument(r, func(d *document) *refusal {
		return r.cloud.chown(r.who, &d.object, "DOCUMENT", r.int(2), r.int(3))
	})
}

func documentClone(r *request) answer {
	source, refused := documentFor(r, use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	id := r.tx.nextID(kindDocument)
	r.keepDocument(&document{object: r.cloud.owned(id, r.text(2), r.who), Type: source.Type, Template: source.Template})
	return idAnswer(id)
}

func documentDelete(r *request) answer {
	found, refused := documentFor(r, manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.extra = xmlText(found.write)
	delete(r.cloud.documents, found.ID)
	r.tx.remove(kindDocument, found.ID)
	return idAnswer(found.ID)
}

// documentLockCall is one.document.lock(id, level, test): level 1 USE, 2
// MANAGE, 3 ADMIN, 4 all of them.
func documentLockCall(r *request) answer {
	return changeLock(r, func(d *document) *refusal {
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
		d.Lock = &documentLock{Level: level, Owner: r.who.user.ID, Time: now(), Request: int(r.sim.requests.Load()) % 10_000}
		return nil
	})
}

func documentUnlock(r *request) answer {
	return changeLock(r, func(d *document) *refusal {
		if d.Lock != nil && d.Lock.Owner != r.who.user.ID && !r.who.isAdmin() {
			return refuse(opennebula.CodeAction, "Cannot unlock: Lock is owned by another user")
		}
		d.Lock = nil
		return nil
	})
}
