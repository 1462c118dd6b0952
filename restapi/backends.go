package restapi

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/changes"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// session is what the API asks of oned as one user.
type session interface {
	Version(ctx context.Context) (string, error)
	User(ctx context.Context, id int) (opennebula.User, error)
	Users(ctx context.Context) ([]opennebula.PoolEntry, error)
	Groups(ctx context.Context) ([]opennebula.PoolEntry, error)
	AllocateDocument(ctx context.Context, documentType int, name string, body []byte) (int, error)
	Document(ctx context.Context, id int) (opennebula.Document, error)
	Documents(ctx context.Context, documentType, filter, start, end int) ([]opennebula.Document, error)
	UpdateDocument(ctx context.Context, id int, body []byte) error
	DeleteDocument(ctx context.Context, id int) error
	RenameDocument(ctx context.Context, id int, name string) error
	ChownDocument(ctx context.Context, id, uid, gid int) error
	ChmodDocument(ctx context.Context, id int, octet string) error
	VM(ctx context.Context, id int) (one.VM, error)
	Details(ctx context.Context, ids []int) (map[int]opennebula.VMDetails, error)
	Look(ctx context.Context, state flow.State) (flow.State, flow.Facts, error)
	ChownVM(ctx context.Context, id, uid, gid int) error
	Router(ctx context.Context, id int) (opennebula.Router, error)
	ChownRouter(ctx context.Context, id, uid, gid int) error
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
	// server is the server user's own.
	server() session
	// as acts for a user with the server's credentials.
	as(user string) session
	// confirmed is as, and believes only the server that certainly leads the zone.
	confirmed(user string) session
	// authenticate returns the user for whom a name and a secret stand, and when they end; zero if that is not known.
	authenticate(ctx context.Context, name, secret string) (opennebula.User, time.Time, error)
}

// queue is what the API needs of the pipeline.
type queue interface {
	SubmitCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error)
	PublishWork(ctx context.Context, work pipeline.Work, messageID string) (uint64, error)
	CommandStatus(ctx context.Context, id string) (pipeline.CommandStatus, error)
	ResumeCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error)
	CommandReply(ctx context.Context, id string) (reply pipeline.Reply, verb flow.Verb, ended bool, err error)
	ReadCommandChanges(ctx context.Context) (*command.Reader, error)
	Reserve(ctx context.Context, name string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error)
	Reservation(ctx context.Context, name string) (pipeline.Reservation, uint64, error)
	UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (uint64, error)
	Why(ctx context.Context, service int, look inspect.Look) (inspect.Why, error)
	LoadRecord(ctx context.Context, service int) (pipeline.Record, uint64, error)
	ReadTransitions(ctx context.Context, service int, after uint64) (*history.Reader, error)
	LastTransitionSequence(ctx context.Context) (uint64, error)
	Observe() (*inspect.Observer, error)
	LastChange(ctx context.Context) (changes.Point, error)
	ChangedBetween(ctx context.Context, from, to changes.Point, most int) (changed changes.Changed, known bool, err error)
	State() pipeline.ConnectionState
}

// oned hands out sessions of the real client.
type oned struct{ client *opennebula.Client }

func (o oned) server() session               { return o.client.Server() }
func (o oned) as(user string) session        { return o.client.For(user) }
func (o oned) confirmed(user string) session { return o.client.For(user).Confirmed() }
func (o oned) authenticate(ctx context.Context, name, secret string) (opennebula.User, time.Time, error) {
	return o.client.Authenticate(ctx, name, secret)
}

// clients are those of JetStream that the API needs: its queue outside of tests.
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
