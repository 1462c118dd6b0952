package restapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/opennebula"
)

type request struct {
	*http.Request
	caller caller
	// oned is the session in which the caller's calls are made.
	oned session
	// keyed is set for a request with an Idempotency-Key.
	keyed *keyed
	// own is true below ownPrefix.
	own, dryRun bool
	// text is the body.
	text []byte
	// release gives the slots back that the request has of admission.
	release   func()
	admission *admission
}

// list returns the documents of a type that the caller may see, admitted to the answer. While too many long answers are being sent it waits
// for as much room as they need, and reads them again.
func (r *request) list(ctx context.Context, documentType int) ([]opennebula.Document, error) {
	read := func() (documents []opennebula.Document, err error) {
		defer errs.Wrap(&err, "list %ss", kindNames[documentType])
		return r.oned.Documents(ctx, documentType, allVisible)
	}
	waiting, cancel := context.WithTimeout(ctx, r.admission.limits.patience)
	defer cancel()
	documents, err := read()
	size := sizeOfAll(documents)
	if err != nil || r.reserve(size) == nil {
		return documents, err
	}
	for {
		freed := r.admission.showing.nextRelease()
		if err = r.reserve(size); err == nil {
			return read()
		}
		select {
		case <-freed:
		case <-waiting.Done():
			return nil, err
		}
	}
}

// reserve admits documents of so many bytes to the request's answer.
func (r *request) reserve(size int) error {
	shown, ok := r.admission.showing.acquire(r.caller.Identity.UID, size)
	if !ok {
		return busy(http.StatusServiceUnavailable, time.Second, "too many long answers are being sent, to this user or to all users; try again")
	}
	admitted := r.release
	r.release = func() { shown(); admitted() }
	return nil
}

type endpoint func(ctx context.Context, r *request) (answer, error)

func isOwn(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, ownPrefix+"/") }

// id returns an id in the path. A text that is not a number is the id of nothing.
func (r *request) id(wildcard, what string) (int, error) {
	text := r.PathValue(wildcard)
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, failure(http.StatusNotFound, "there is no %s %q: ids are whole numbers, 0 or more", what, text)
	}
	return int(id), nil
}

// newCommand returns a command of the request's caller. Its id cannot be guessed, and stays the same when a request with a key is repeated.
func (r *request) newCommand(service int, verb flow.Verb, arguments any) flow.Command {
	command := flow.Command{ID: rand.Text(), Verb: verb, Service: service, User: r.caller.Identity}
	if r.keyed != nil {
		command.ID = r.keyed.command
	}
	if arguments != nil {
		command.Arguments, _ = json.Marshal(arguments) // plain values, and JSON that was read before
	}
	return command
}

var kindNames = map[int]string{
	spec.DocumentTypeService:         "service",
	spec.DocumentTypeServiceTemplate: "service template",
}

// document reads the document that the path names, as the caller, and compares it with a changing request's If-Match. A
// document of another type is not found: its id must not open it by the wrong path.
func (r *request) document(ctx context.Context, documentType int) (opennebula.Document, error) {
	id, err := r.id("id", kindNames[documentType])
	if err != nil {
		return opennebula.Document{}, err
	}
	found, err := r.read(ctx, documentType, id)
	if err == nil {
		err = r.reserve(sizeOfAll([]opennebula.Document{found}))
	}
	if err != nil {
		return found, err
	}
	// A refusal here spares the others the wait. The second check decides: the worker's when it carries the command out, or
	// that of reservations.alone. It is the only one where an earlier attempt at the request may have changed the document.
	tags, err := r.tags(ifMatch)
	if err == nil && !found.Matches(tags) && !r.keyed.repeated() {
		err = changed(found)
	}
	return found, err
}

func (r *request) read(ctx context.Context, documentType, id int) (opennebula.Document, error) {
	kind := kindNames[documentType]
	found, err := r.oned.Document(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return opennebula.Document{}, failure(http.StatusNotFound, "there is no %s %d", kind, id)
	case err != nil:
		return opennebula.Document{}, granting(fmt.Errorf("read %s %d: %w", kind, id, err))
	case found.Type != documentType:
		// OneFlow's commands go on with the next id of a range at 500, and stop at 404.
		return opennebula.Document{}, ownFailure(http.StatusNotFound, "there is no %s %d: the document with this id is of another type", kind, id)
	}
	return found, nil
}

// mayManage returns an error unless the caller has MANAGE on a document. It is called before a change is queued: the worker
// acts as the service's owner and cannot check the right any more.
//
// Where the permission bits grant MANAGE they suffice, because OpenNebula's ACL rules only ever add rights. Only the group that certainly counts is
// compared: a scoped token removes all others. Where the bits do not grant it, an ACL rule may, and a locked document can be managed only by the
// lock's owner and administrators: oned is asked through one.document.chown with -1 for user and group, for which it demands MANAGE and then sets
// nothing. Renaming a document to its own name would not do: oned reports success before it checks the caller's rights, and a rename by somebody else
// in between would be undone.
func (r *request) mayManage(ctx context.Context, document opennebula.Document) error {
	bits := document.Permissions
	granted := r.caller.isAdmin() ||
		bits.OwnerM == 1 && document.Owner.UID == r.caller.Identity.UID ||
		bits.GroupM == 1 && document.Owner.GID == r.caller.EffectiveGID ||
		bits.OtherM == 1
	if granted && !document.Locked {
		return nil
	}
	if err := r.oned.MayManage(ctx, document.ID); err != nil {
		return granting(fmt.Errorf("change %s %d: %w", kindNames[document.Type], document.ID, err))
	}
	return nil
}

// granting adds to a refusal for a missing right which users can grant it.
func granting(err error) error {
	if opennebula.IsCode(err, opennebula.CodeAuthorization) {
		return fmt.Errorf("%w; its owner or an administrator can grant the right", err)
	}
	return err
}

func changed(document opennebula.Document) error {
	return failure(http.StatusPreconditionFailed, "%s %d has changed since it was read (its ETag is now %s): read it again before you change it",
		kindNames[document.Type], document.ID, document.ETag())
}

const (
	ifMatch = "If-Match"
	// maxTags bounds how many entity tags the header may have.
	maxTags = 32
)

// tags returns the entity tags of a header. If-Match is for changing requests.
func (r *request) tags(header string) (tags []string, err error) {
	for tag := range strings.SplitSeq(strings.Join(r.Header.Values(header), ","), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	switch {
	case header != ifMatch:
	case r.Method == http.MethodGet:
		return nil, nil
	case len(tags) > maxTags:
		return nil, badRequest("If-Match has %d entity tags; the maximum is %d", len(tags), maxTags)
	}
	return tags, nil
}

type attributes map[string]json.RawMessage

func (r *request) object() (attributes, error) {
	return readAttributes("the body", r.text)
}

func readAttributes(what string, text []byte) (attributes, error) {
	if _, err := template.CheckNesting(text); err != nil {
		return nil, err
	}
	var read attributes
	err := json.Unmarshal(text, &read)
	if syntax, is := errors.AsType[*json.SyntaxError](err); is {
		return nil, badRequest("%s must be a JSON object: %v", what, syntax)
	}
	if err != nil || read == nil {
		return nil, badRequest("%s must be a JSON object", what)
	}
	return read, nil
}

var errNoPerform = badRequest(`"perform" is missing; it must be the name of an action`)

// action reads {"action": {"perform": P, "params": {...}}}; params is nil if there are none.
func (r *request) action() (perform string, params attributes, err error) {
	body, err := r.object()
	if err != nil {
		return "", nil, err
	}
	if !body.has("action") {
		return "", nil, badRequest(`"action" is missing; the body must look like {"action": {"perform": "rename", "params": {"name": "new"}}}`)
	}
	inner, err := readAttributes(`"action"`, body["action"])
	if err != nil {
		return "", nil, err
	}
	if !inner.has("perform") {
		return "", nil, errNoPerform
	}
	if perform, err = inner.text("perform"); err == nil && inner.has("params") {
		params, err = readAttributes(`"params"`, inner["params"])
	}
	return perform, params, err
}

// The meaning of parameters' values is decided here, once for each type of parameter, by OneFlow's clients: Sunstone writes numbers as texts and
// sends an empty text for an empty field, goca sends -1 for a value that is to stay and null for one that is missing. docs/api.md has the table.

func (a attributes) has(name string) bool {
	value, found := a[name]
	return found && !bytes.Equal(bytes.TrimSpace(value), []byte("null"))
}

func (a attributes) wrong(name, must string) error {
	if !a.has(name) {
		return badRequest("%q is missing; it must be %s", name, must)
	}
	return badRequest("%q must be %s", name, must)
}

// scalar returns the text of a text, number or boolean; ok is false for an object, an array and a missing attribute.
func (a attributes) scalar(name string) (text string, ok bool) {
	value := bytes.TrimSpace(a[name])
	if !a.has(name) || value[0] == '{' || value[0] == '[' {
		return "", false
	}
	if json.Unmarshal(value, &text) == nil {
		return text, true
	}
	return string(value), true
}

// text returns an attribute that has to be a text, and not an empty one.
func (a attributes) text(name string) (string, error) {
	var value string
	if !a.has(name) || json.Unmarshal(a[name], &value) != nil {
		return "", a.wrong(name, "a string")
	}
	if strings.TrimSpace(value) == "" {
		return "", badRequest("%q is empty; it must be a string", name)
	}
	return value, nil
}

// name returns a text that oned accepts as a name.
func (a attributes) name(name string) (string, error) {
	value, err := a.text(name)
	if err == nil && one.BeyondBMP(value) {
		err = badRequest("%q must not have emoji or other characters above U+FFFF", name)
	}
	return value, err
}

// note returns a text that may be missing or empty, or be written as a number.
func (a attributes) note(name string) (string, error) {
	text, ok := a.scalar(name)
	if !ok && a.has(name) {
		return "", badRequest("%q must be a string", name)
	}
	return text, nil
}

// number returns a whole number, or a text of one: 2, "2", " 2 " and 2.0. blank reports whether it is an empty text.
func (a attributes) number(name string) (number int, blank, ok bool) {
	text, ok := a.scalar(name)
	text = strings.TrimSpace(text)
	value, err := strconv.ParseFloat(text, 64)
	return int(value), ok && text == "", ok && err == nil && value == math.Trunc(value) && math.Abs(value) <= math.MaxInt32
}

func (a attributes) whole(name string) (int, error) {
	number, _, ok := a.number(name)
	if !ok || number < 0 {
		return 0, a.wrong(name, "a whole number, 0 or more")
	}
	return number, nil
}

// unchanged leaves a user or a group as it is, for oned too.
const unchanged = -1

// owner returns the id of a user or a group. -1 and an empty text leave it as it is.
func (a attributes) owner(name string) (int, error) {
	id, blank, ok := a.number(name)
	switch {
	case blank:
		return unchanged, nil
	case !ok || id < unchanged:
		return 0, a.wrong(name, "an id, or -1 to leave it unchanged")
	}
	return id, nil
}

// spacing returns a number that spreads actions over VMs: as configured if it is missing; 0, negative numbers and an empty text switch it off.
func (a attributes) spacing(name string, configured int) (int, error) {
	number, blank, ok := a.number(name)
	switch {
	case !a.has(name):
		return configured, nil
	case blank:
		return 0, nil
	case !ok:
		return 0, badRequest("%q must be a whole number; 0 or an empty string for all VMs at once", name)
	}
	return max(number, 0), nil
}

// flag returns true or false, also from a text or number for it; false if it is missing or empty.
func (a attributes) flag(name string) (bool, error) {
	if !a.has(name) {
		return false, nil
	}
	text, ok := a.scalar(name)
	set, known := readFlag(text)
	if !ok || !known {
		return false, badRequest("%q must be true or false", name)
	}
	return set, nil
}

// readFlag reads true, false, 1, 0 and an empty text.
func readFlag(text string) (set, known bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		return true, true
	case "false", "0", "":
		return false, true
	}
	return false, false
}

// octet returns three octal digits, from a text or a number. Leading zeros may be missing: goca drops them.
func (a attributes) octet(name string) (string, error) {
	text, ok := a.scalar(name)
	digits := strings.TrimLeft(strings.TrimSpace(text), "0")
	if !a.has(name) || text == "" {
		return "", badRequest("%q is missing; it must be three octal digits such as \"640\"", name)
	}
	if !ok || len(digits) > 3 || strings.Trim(digits, "01234567") != "" {
		return "", badRequest("%q must be three octal digits such as \"640\"", name)
	}
	return fmt.Sprintf("%03s", digits), nil
}

// recursive returns how far a clone goes. As with OneFlow every value but "none" and "all" means the VM templates: true, false and no value, too.
func (a attributes) recursive(name string) reach {
	text, _ := a.scalar(name)
	switch far := reach(text); far {
	case reachNone, reachAll:
		return far
	}
	return reachTemplates
}

// deletes returns how far a deletion goes: none if it is missing or empty. Unlike a clone, which only makes more than
// wanted, a deletion must not go further than asked.
func (a attributes) deletes(name string) (reach, error) {
	text, ok := a.scalar(name)
	switch far := reach(text); far {
	case "":
		if ok || !a.has(name) {
			return reachNone, nil
		}
	case reachNone, reachTemplates, reachAll:
		return far, nil
	}
	return reachNone, badRequest("%q must be none, templates or all", name)
}

func (a attributes) objectOrText(name string) (json.RawMessage, error) {
	if !a.has(name) {
		return nil, badRequest("%q is missing; it must be a JSON object, or a string with one", name)
	}
	value := bytes.TrimSpace(a[name])
	var text string
	if json.Unmarshal(value, &text) == nil {
		value = []byte(text)
	}
	_, err := readAttributes(fmt.Sprintf("%q", name), value)
	return value, err
}
