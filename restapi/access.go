package restapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// kindNames are what documents are called in messages.
var kindNames = map[int]string{
	flow.DocumentTypeService:         "service",
	flow.DocumentTypeServiceTemplate: "service template",
}

// document reads the document that the path names, as the caller. A document
// of another type is none: its id must not open it by the wrong door.
func (r *request) document(ctx context.Context, documentType int) (opennebula.Document, error) {
	kind := kindNames[documentType]
	id, err := r.id(kind)
	if err != nil {
		return opennebula.Document{}, err
	}
	found, err := r.read(ctx, documentType, id)
	if err == nil {
		err = r.unchanged(found)
	}
	return found, err
}

func (r *request) read(ctx context.Context, documentType, id int) (opennebula.Document, error) {
	kind := kindNames[documentType]
	found, err := r.oned.Document(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		return opennebula.Document{}, &statusError{http.StatusNotFound, fmt.Sprintf("there is no %s %d", kind, id)}
	}
	if err != nil {
		return opennebula.Document{}, granting(fmt.Errorf("read %s %d: %w", kind, id, err))
	}
	if found.Type != documentType {
		// OneFlow's commands go on with the next id of a range at 500, and stop at 404.
		other := &statusError{http.StatusInternalServerError, fmt.Sprintf("there is no %s %d: the document of that id is something else", kind, id)}
		return opennebula.Document{}, r.conflicting(other, http.StatusNotFound)
	}
	return found, nil
}

// mayManage makes sure that the caller has MANAGE on a document, before a
// change of it is queued: the worker, which acts as the service's owner, could
// not tell any more.
//
// Where the permission bits grant it that is the answer, because OpenNebula's
// ACL rules only ever add rights. Where they do not, an ACL rule may, and where the
// document is locked, nobody may but the lock's owner and administrators: oned
// is asked through one.document.chown with -1 for user and group: oned
// demands MANAGE for it before it looks at anything else, and then sets
// nothing. It cannot do harm whatever happens at the same time. Renaming a
// document to its own name would not do: oned answers that with success before
// it looks at the caller's rights, and a rename by somebody else in between
// would be undone.
func (r *request) mayManage(ctx context.Context, document opennebula.Document) error {
	if r.bitsGrantManage(document) && !document.Locked {
		return nil
	}
	if err := r.oned.ChownDocument(ctx, document.ID, -1, -1); err != nil {
		return granting(fmt.Errorf("change %s %d: %w", kindNames[document.Type], document.ID, err))
	}
	return nil
}

// granting says to who may not do something who can change that.
func granting(err error) error {
	if !opennebula.IsCode(err, opennebula.CodeAuthorization) {
		return err
	}
	return fmt.Errorf("%w; its owner or an administrator can grant the right", err)
}

// bitsGrantManage looks at the groups that certainly count: a scoped token
// takes all but one away.
func (r *request) bitsGrantManage(document opennebula.Document) bool {
	bits := document.Permissions
	return r.caller.isAdmin() ||
		bits.OwnerM == 1 && document.Owner.UID == r.caller.Identity.UID ||
		bits.GroupM == 1 && document.Owner.GID == r.caller.EffectiveGID ||
		bits.OtherM == 1
}
