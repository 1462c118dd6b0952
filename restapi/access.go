package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// kindNames are the names of the types of documents in messages.
var kindNames = map[int]string{
	spec.DocumentTypeService:         "service",
	spec.DocumentTypeServiceTemplate: "service template",
}

// document reads the document that the path names, as the caller, and holds it
// against a changing request's If-Match. A document of another type is not found: its id
// must not open it by the wrong path.
func (r *request) document(ctx context.Context, documentType int) (opennebula.Document, error) {
	id, err := r.id("id", kindNames[documentType])
	if err != nil {
		return opennebula.Document{}, err
	}
	found, err := r.read(ctx, documentType, id)
	if err != nil {
		return found, err
	}
	// To refuse here spares others the wait. What counts is the second check: the worker's
	// when it carries the command out, or that of reservations.alone. It is the only one
	// where an earlier attempt at the request may have changed the document.
	tags, err := r.ifMatch()
	if err == nil && !found.Matches(tags) && !r.keyed.repeated() {
		err = changed(found)
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
		return opennebula.Document{}, r.granting(fmt.Errorf("read %s %d: %w", kind, id, err))
	}
	if found.Type != documentType {
		// OneFlow's commands go on with the next id of a range at 500, and stop at 404.
		other := &statusError{http.StatusInternalServerError, fmt.Sprintf("there is no %s %d: the document with this id is of another type", kind, id)}
		return opennebula.Document{}, r.conflicting(other, http.StatusNotFound)
	}
	return found, nil
}

// mayManage returns an error unless the caller has MANAGE on a document. It is
// called before a change is queued: the worker acts as the service's owner and
// cannot check it any more.
//
// Where the permission bits grant it that is the answer, because OpenNebula's
// ACL rules only ever add rights. Only the group that certainly counts is compared: a
// scoped token takes all others away. Where they do not, an ACL rule may, and where the
// document is locked, nobody may but the lock's owner and administrators: oned
// is asked through one.document.chown with -1 for user and group: oned
// demands MANAGE for it before it looks at anything else, and then sets
// nothing. It cannot do harm whatever happens at the same time. Renaming a
// document to its own name would not do: oned answers that with success before
// it looks at the caller's rights, and a rename by somebody else in between
// would be undone.
func (r *request) mayManage(ctx context.Context, document opennebula.Document) error {
	bits := document.Permissions
	granted := r.caller.isAdmin() ||
		bits.OwnerM == 1 && document.Owner.UID == r.caller.Identity.UID ||
		bits.GroupM == 1 && document.Owner.GID == r.caller.EffectiveGID ||
		bits.OtherM == 1
	if granted && !document.Locked {
		return nil
	}
	if err := r.oned.ChownDocument(ctx, document.ID, -1, -1); err != nil {
		return r.granting(fmt.Errorf("change %s %d: %w", kindNames[document.Type], document.ID, err))
	}
	return nil
}

// granting adds to a refusal for a missing right who can grant it. OneFlow's clients know it
// as 401; under /flowjet/v1 that is for credentials that are not accepted.
func (r *request) granting(err error) error {
	if !opennebula.IsCode(err, opennebula.CodeAuthorization) {
		return err
	}
	err = fmt.Errorf("%w; its owner or an administrator can grant the right", err)
	if r.own {
		return &statusError{http.StatusForbidden, err.Error()}
	}
	return err
}

func changed(document opennebula.Document) error {
	return &statusError{http.StatusPreconditionFailed, fmt.Sprintf("%s %d has changed since it was read (its ETag is now %s): read it again before you change it",
		kindNames[document.Type], document.ID, document.ETag())}
}

// conflicting gives an error of OneFlow's API, where it is a 500 for clients
// that know it so, its right status under /flowjet/v1.
func (r *request) conflicting(err error, status int) error {
	if known, is := errors.AsType[*statusError](err); is && r.own && known.status == http.StatusInternalServerError {
		return &statusError{status, known.message}
	}
	return err
}

// refusalStatus is OneFlow's status for a command that its worker refused. Its
// clients know 500 for a state that does not allow it; Flowjet's own API says
// what it is.
func (r *request) refusalStatus(kind flow.RefusalKind) int {
	switch {
	case kind == flow.RefusedInput:
		return http.StatusBadRequest
	case kind == flow.RefusedChanged:
		return http.StatusPreconditionFailed
	case r.own && kind == flow.RefusedMissing:
		return http.StatusNotFound
	case r.own:
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
