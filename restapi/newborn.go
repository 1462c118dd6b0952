package restapi

import (
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// newborn shows services that were just made without reading them back. All that oned adds
// to what it was told is the caller and the permissions that the caller's umask leaves,
// and these are as they were for the last service, which is remembered for a minute.
type newborn struct {
	mutex sync.Mutex
	known map[string]added // by whom calls are made for
}

// added is what oned added to a user's last service.
type added struct {
	owner       one.Identity
	permissions opennebula.Permissions
	until       time.Time
}

const (
	trustAdded = time.Minute
	maxAdded   = 10_000
)

// document returns the service that the caller has just made; false where it has to be read.
func (n *newborn) document(who caller, id int, body spec.Body) (opennebula.Document, bool) {
	n.mutex.Lock()
	last, known := n.known[who.target()]
	n.mutex.Unlock()
	if !known || time.Now().After(last.until) || last.owner.UID != who.Identity.UID || last.owner.GID != who.EffectiveGID {
		return opennebula.Document{}, false
	}
	return opennebula.Document{
		ID: id, Owner: last.owner, Name: body.Name, Type: spec.DocumentTypeService, Permissions: last.permissions, Body: encodeBody(body),
	}, true
}

// remember notes what oned added to a service that the caller has just made.
func (n *newborn) remember(who caller, service opennebula.Document) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.known == nil || len(n.known) >= maxAdded {
		n.known = map[string]added{}
	}
	n.known[who.target()] = added{service.Owner, service.Permissions, time.Now().Add(trustAdded)}
}
