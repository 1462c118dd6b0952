package sim

import (
	"encoding/json"
	"slices"

	"github.com/flowjet/flowjet/opennebula"
)

// pool is all objects of one kind by their ids.
type pool[T any] map[int]*T

// records is what the state file and the replicas do with a pool, whatever it
// holds.
type records interface {
	// restore reads an object of the state file.
	restore(id int, content []byte) error
	// put sets an object, or removes it where item is nil.
	put(id int, item any)
	// copyOf returns an object as it stands; nil stays nil.
	copyOf(item any) any
	ids() []int
	at(id int) any
}

func (p pool[T]) restore(id int, content []byte) error {
	item := new(T)
	if err := json.Unmarshal(content, item); err != nil {
		return err
	}
	p[id] = item
	return nil
}

func (p pool[T]) put(id int, item any) {
	if object, there := item.(*T); there {
		p[id] = object
		return
	}
	delete(p, id)
}

func (p pool[T]) copyOf(item any) any {
	if item == nil {
		return nil
	}
	c := *item.(*T)
	if shares, does := any(&c).(interface{ unshare() }); does {
		shares.unshare()
	}
	return &c
}

// ids returns the ids of all objects, the oldest first.
func (p pool[T]) ids() []int {
	ids := make([]int, 0, len(p))
	for id := range p {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (p pool[T]) at(id int) any { return p[id] }

// class is what oned's calls about one kind of object have in common.
type class[T any, P pooled[T]] struct {
	kind string
	// words and label are the kind's names in oned's refusals, such as "virtual
	// machine" and VM; root is the element around a pool.
	words, label, root string
	pool               func(c *cloud) pool[T]
}

// pooled is an object with an owner, a name and permissions.
type pooled[T any] interface {
	*T
	base() *object
	// show writes the object as its info call does.
	show(b *xmlWriter)
}

// find returns the object with the id, if the caller has the right on it.
func (c *class[T, P]) find(r *request, id int, needed right) (P, *refusal) {
	found := P(c.pool(r.cloud)[id])
	if found == nil {
		return nil, notFound(c.words, id)
	}
	if refused := r.who.authorize(needed, c.label, found.base()); refused != nil {
		return nil, refused
	}
	if lockable, is := any(found).(interface {
		locked(who identity, needed right) *refusal
	}); is {
		if refused := lockable.locked(r.who, needed); refused != nil {
			return nil, refused
		}
	}
	return found, nil
}

// info is the call info(id).
func (c *class[T, P]) info(r *request) answer {
	found, refused := c.find(r, r.int(1), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(found.show)
}

// list is the pool's call info(filter, start, end), the newest object first.
func (c *class[T, P]) list(r *request) answer {
	all := c.pool(r.cloud)
	newestFirst := all.ids()
	slices.Reverse(newestFirst)
	return xmlAnswer(func(b *xmlWriter) {
		open(b, c.root)
		for _, id := range r.page(2).cut(newestFirst) {
			if item := P(all[id]); r.who.listed(r.int(1), item.base()) {
				item.show(b)
			}
		}
		shut(b, c.root)
	})
}

// allocate is the call allocate(template): prefix and the id name an object
// whose template does not.
func (c *class[T, P]) allocate(r *request, prefix string, parsed template, build func(head object, content template) P) answer {
	id := r.tx.nextID(c.kind)
	name := orElse(parsed.text("NAME"), prefix+itoa(id))
	made := build(r.cloud.owned(id, name, r.who), parsed.without("NAME"))
	c.save(r.tx, made)
	r.extra = xmlText(made.show)
	return idAnswer(id)
}

// change returns the call that changes the object of parameter 1.
func (c *class[T, P]) change(needed right, change func(r *request, item P) *refusal) func(r *request) answer {
	return func(r *request) answer { return c.changed(r, r.int(1), needed, change) }
}

// changed lets the change have the object with the id and keeps the outcome.
func (c *class[T, P]) changed(r *request, id int, needed right, change func(r *request, item P) *refusal) answer {
	found, refused := c.find(r, id, needed)
	if refused == nil {
		refused = change(r, found)
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	c.save(r.tx, found)
	return idAnswer(id)
}

// chmod is the call chmod(id, nine bits); whoever gives ADMIN away must have it.
func (c *class[T, P]) chmod(r *request) answer {
	return c.changed(r, r.int(1), manage, func(r *request, item P) *refusal {
		bits, needed := r.bits(), manage
		if bits[2] == 1 || bits[5] == 1 || bits[8] == 1 {
			needed = admin
		}
		refused := r.who.authorize(needed, c.label, item.base())
		if refused == nil {
			item.base().Permissions = item.base().Permissions.changed(bits)
		}
		return refused
	})
}

// chown is the call chown(id, uid, gid); -1 leaves either.
func (c *class[T, P]) chown(r *request) answer {
	return c.changed(r, r.int(1), manage, func(r *request, item P) *refusal {
		return r.cloud.chown(r.who, item.base(), r.int(2), r.int(3))
	})
}

// rename is the call rename(id, name).
func (c *class[T, P]) rename(r *request) answer {
	return c.changed(r, r.int(1), manage, func(r *request, item P) *refusal {
		if reason := badName(r.text(2)); reason != "" {
			return refuse(opennebula.CodeAction, reason)
		}
		item.base().Name = r.text(2)
		return nil
	})
}

// newName returns oned's reason against the name of a new object of the
// caller's, of whom it has each once; "" where there is none.
func (c *class[T, P]) newName(r *request, name string) (reason string) {
	if reason := badName(name); reason != "" {
		return reason
	}
	all := c.pool(r.cloud)
	for _, id := range all.ids() {
		if other := P(all[id]).base(); other.Name == name && other.UID == r.who.user.ID {
			return "NAME is already taken by " + c.label + " " + itoa(id) + "."
		}
	}
	return ""
}

// save adds an object to its pool, or marks one there as changed.
func (c *class[T, P]) save(t *tx, item P) {
	id := item.base().ID
	c.pool(t.cloud)[id] = item
	if v, is := any(item).(*vm); is {
		t.keepVM(v)
		return
	}
	t.save(c.kind, id, item)
}

// remove takes an object out of its pool, which the call's event shows.
func (c *class[T, P]) remove(r *request, item P) {
	r.extra = xmlText(item.show)
	delete(c.pool(r.cloud), item.base().ID)
	r.tx.remove(c.kind, item.base().ID)
}

// delete is the call delete(id).
func (c *class[T, P]) delete(r *request) answer {
	found, refused := c.find(r, r.int(1), manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	c.remove(r, found)
	return idAnswer(r.int(1))
}

// page cuts a listing as oned does: start and end are ids, -1 is open; an end
// under -1 makes start an offset and -end the number of objects wanted.
type page struct{ start, end int }

func (p page) cut(ids []int) []int {
	if p.end < -1 {
		from := min(max(p.start, 0), len(ids))
		return ids[from:min(from-p.end, len(ids))]
	}
	var kept []int
	for _, id := range ids {
		if id >= p.start && (p.end < 0 || id <= p.end) {
			kept = append(kept, id)
		}
	}
	return kept
}
