package restapi

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/changes"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

type session interface {
	Version(ctx context.Context) (string, error)
	User(ctx context.Context, id int) (opennebula.User, error)
	Users(ctx context.Context) ([]opennebula.PoolEntry, error)
	Groups(ctx context.Context) ([]opennebula.PoolEntry, error)
	AllocateDocument(ctx context.Context, documentType int, name string, body []byte) (int, error)
	Document(ctx context.Context, id int) (opennebula.Document, error)
	Documents(ctx context.Context, documentType, filter int) ([]opennebula.Document, error)
	UpdateDocument(ctx context.Context, id int, body []byte) error
	DeleteDocument(ctx context.Context, id int) error
	RenameDocument(ctx context.Context, id int, name string) error
	ChownDocument(ctx context.Context, id, uid, gid int) error
	MayManage(ctx context.Context, id int) error
	ChmodDocument(ctx context.Context, id int, octet string) error
	VM(ctx context.Context, id int) (one.VM, error)
	Details(ctx context.Context, ids []int) (map[int]opennebula.VMDetails, error)
	Refresh(ctx context.Context, state flow.State) (flow.State, flow.Facts, error)
	ChownVM(ctx context.Context, id, uid, gid int) error
	Router(ctx context.Context, id int) (opennebula.Router, error)
	ChownRouter(ctx context.Context, id, uid, gid int) error
	Network(ctx context.Context, id int) (opennebula.Network, error)
	ChownNetwork(ctx context.Context, id, uid, gid int) error
	ScheduleAction(ctx context.Context, vm int, action, args string, at time.Time) (int, error)
	ScheduledActions(ctx context.Context, vm int) ([]opennebula.ScheduledAction, error)
	UnscheduleAction(ctx context.Context, vm, action int) error
	VMTemplate(ctx context.Context, id int) (opennebula.VMTemplate, error)
	VMTemplates(ctx context.Context, filter int) ([]opennebula.PoolEntry, error)
	CloneVMTemplate(ctx context.Context, id int, name string, images bool) (int, error)
	DeleteVMTemplate(ctx context.Context, id int, images bool) error
}

// sessions hands out sessions of users.
type sessions interface {
	// server returns the server user's own session.
	server() session
	// as acts for a user with the server's credentials.
	as(user string, guard opennebula.Guard) session
	// confirmed is like as, but accepts only the server that certainly leads the zone.
	confirmed(user string) session
	// authenticate returns the user with a name and a secret, and when they expire; zero if that is not known.
	authenticate(ctx context.Context, name, secret string) (opennebula.User, time.Time, error)
}

type queue interface {
	SubmitCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error)
	PublishWork(ctx context.Context, work pipeline.Work, messageID string) (uint64, error)
	CommandStatus(ctx context.Context, id string) (pipeline.CommandStatus, error)
	ResumeCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error)
	CommandReply(ctx context.Context, id string) (reply pipeline.Reply, verb flow.Verb, ended bool, err error)
	FollowCommands(ctx context.Context, visit func(command.Change)) error
	Reserve(ctx context.Context, name string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error)
	Reservation(ctx context.Context, name string) (pipeline.Reservation, uint64, error)
	UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (uint64, error)
	Why(ctx context.Context, service int, refresh inspect.Refresh) (inspect.Why, error)
	LoadRecord(ctx context.Context, service int) (pipeline.Record, uint64, error)
	ReadTransitions(ctx context.Context, service int, after uint64) (*history.Reader, error)
	LastTransitionSequence(ctx context.Context) (uint64, error)
	Observe() (*inspect.Observer, error)
	LastChange(ctx context.Context) (changes.Point, error)
	ChangedBetween(ctx context.Context, from, to changes.Point, most int) (changed changes.Changed, known bool, err error)
	State() pipeline.ConnectionState
}

type oned struct{ client *opennebula.Client }

func (o oned) server() session               { return o.client.Server() }
func (o oned) confirmed(user string) session { return o.client.For(user).Confirmed() }
func (o oned) as(user string, guard opennebula.Guard) session {
	return o.client.For(user).Guarded(guard)
}
func (o oned) authenticate(ctx context.Context, name, secret string) (opennebula.User, time.Time, error) {
	return o.client.Authenticate(ctx, name, secret)
}

// clients are the JetStream clients that the API needs: its queue outside of tests.
type clients struct {
	*pipeline.Pipeline // the connection's state
	*command.Commands
	*work.Queue
	*work.Records
	*history.History
	*inspect.Inspector
	*changes.Changes
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, command.New(p), work.NewQueue(p), work.NewRecords(p), history.New(p), inspect.New(p), changes.New(p)}
}

// callerSession is the session in which a user's request is served.
//
// It reads services from their records. The record of a service is stored before any action, and its document at oned
// follows within a second, so a read is never older than the last decision. oned decides whether the caller may see a
// service, and its document wins if somebody else has changed it.
type callerSession struct {
	session
	lists *lists
	box   *seal.Box
	user  string
}

func (s callerSession) Document(ctx context.Context, id int) (opennebula.Document, error) {
	document, err := s.session.Document(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) && s.record(ctx, id) != nil {
		// Flowjet drives it: the zone's leader may have lost it, which is no 404.
		document, err = s.lists.oned.confirmed(s.user).Document(ctx, id)
	}
	if err == nil {
		s.catchUp(ctx, &document)
	}
	return document, err
}

const recordsAtOnce = 16

// Documents does not read the records of services at rest: their documents are written before a change is published. The
// documents may come from a list that is kept: then the records that have changed since are read, too.
func (s callerSession) Documents(ctx context.Context, documentType, filter int) (documents []opennebula.Document, err error) {
	var decided map[int]bool
	if filter == allVisible {
		documents, decided, err = s.lists.documents(ctx, listKey{s.user, documentType})
	} else {
		documents, err = s.session.Documents(ctx, documentType, filter)
	}
	if err != nil || documentType != spec.DocumentTypeService {
		return documents, err
	}
	documents = slices.Clone(documents)
	var reads errgroup.Group
	reads.SetLimit(recordsAtOnce)
	for i := range documents {
		if decided[documents[i].ID] || mayWait(documents[i].Body) {
			reads.Go(func() error { s.catchUp(ctx, &documents[i]); return nil })
		}
	}
	return documents, reads.Wait()
}

// mayWait reports whether a service's text names a transient state, its own or a role's.
func mayWait(text []byte) bool {
	for {
		_, after, found := bytes.Cut(text, []byte(`"state":`))
		if !found {
			return false
		}
		text = bytes.TrimLeft(after, " ")
		digits := len(text) - len(bytes.TrimLeft(text, "0123456789"))
		if state, err := strconv.Atoi(string(text[:digits])); err == nil && spec.ServiceState(state).Waiting() {
			return true
		}
	}
}

// recordPatience is how long the read of a record may take; then the document is shown as oned has it.
const recordPatience = time.Second

// record returns the record of a service that has not ended; nil without one, or if NATS does not answer.
func (s callerSession) record(ctx context.Context, service int) *pipeline.Record {
	if !s.lists.queue.State().Connected {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, recordPatience)
	defer cancel()
	record, revision, err := s.lists.queue.LoadRecord(limited, service)
	if err != nil || revision == 0 || record.Deleted {
		return nil
	}
	return &record
}

// catchUp applies the decisions since the document was written to it.
func (s callerSession) catchUp(ctx context.Context, document *opennebula.Document) {
	if document.Type != spec.DocumentTypeService {
		return
	}
	record := s.record(ctx, document.ID)
	if record == nil {
		return
	}
	ours := func(digest string) bool { return digest == record.Saved || slices.Contains(record.Digests, digest) }
	if !ours(spec.DigestOf(document.Body)) {
		written, repairs, err := spec.ReadService(document.Body)
		if err != nil || !ours(spec.FoundDigest(document.Body, written, repairs)) {
			return // somebody else has changed it
		}
	}
	decided, err := record.State.Service.Body.Opened(s.box.Open)
	if err != nil {
		return
	}
	if text, err := decided.Text(); err == nil {
		document.Body = text
	}
}

// mostWrites bounds how many written documents are remembered.
const mostWrites = 1000

// writes remembers which documents were recently written.
type writes struct {
	mu sync.Mutex
	// first is how many are forgotten already.
	first int
	ids   []int
}

func (w *writes) add(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) == mostWrites {
		w.ids = slices.Clone(w.ids[mostWrites/2:])
		w.first += mostWrites / 2
	}
	w.ids = append(w.ids, id)
}

func (w *writes) position() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first + len(w.ids)
}

// since returns the documents written after a position; known is false if the position is too old.
func (w *writes) since(position int) (ids []int, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if position < w.first {
		return nil, false
	}
	return slices.Clone(w.ids[position-w.first:]), true
}

var errNoDryRun = failure(http.StatusBadRequest, "this call has no dry_run; instantiate, scale, update, add_role, remove_role, release, recover and undeploy have")
