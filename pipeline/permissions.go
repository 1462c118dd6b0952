package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Role is the role of a process on NATS. Each has its own user there with the rights that
// its part needs, and no others.
type Role string

// The roles. RoleAll is for `flowjet up`: one process that is bridge, worker
// and API, and that makes its streams itself.
const (
	RoleBridge   Role = "bridge"
	RoleWorker   Role = "worker"
	RoleAPI      Role = "api"
	RoleAll      Role = "flowjet"
	RoleOperator Role = "operator"
	RoleReader   Role = "reader"
)

// Roles are all of them.
var Roles = []Role{RoleBridge, RoleWorker, RoleAPI, RoleAll, RoleOperator, RoleReader}

// Permissions are the subjects that a role may publish to and subscribe to. All others are denied.
type Permissions struct{ Publish, Subscribe []string }

// InboxPrefix returns the beginning of the role's inboxes: no other role may subscribe
// there. (With a shared prefix every role could read all answers.)
func (r Role) InboxPrefix() string { return "_INBOX." + string(r) }

// Permissions returns the role's permissions, as exact as JetStream's API is: a name for each stream.
// docs/adr/0050-who-may-do-what-on-nats.md lists the limits.
func (r Role) Permissions() Permissions {
	switch r {
	case RoleBridge:
		return own(r, bridgeSubjects, processSubjects)
	case RoleWorker:
		return own(r, workerSubjects, processSubjects)
	case RoleAPI:
		return own(r, apiSubjects, processSubjects)
	case RoleAll:
		return own(r, bridgeSubjects, workerSubjects, apiSubjects, processSubjects,
			Permissions{Publish: onStreams("STREAM.CREATE.%s", allStreams...)}, Permissions{Publish: onStreams("STREAM.UPDATE.%s", allStreams...)},
			Permissions{Subscribe: []string{SubjectsONE, SubjectsFlow, SubjectsDead}}) // `flowjet up` prints a line for each transition and dead letter
	case RoleOperator:
		return Permissions{
			Publish: []string{"one.>", "flow.>", "$KV.>", "$JS.>"},
			// The `nats` command listens below _INBOX, unless a flag says otherwise.
			Subscribe: []string{"one.>", "flow.>", "$KV.>", "$JS.EVENT.>", "_INBOX.>"},
		}
	case RoleReader:
		return own(r, readerSubjects())
	}
	return Permissions{}
}

// own combines the permissions of parts with the role's own inbox.
func own(r Role, parts ...Permissions) Permissions {
	all := Permissions{Subscribe: []string{r.InboxPrefix() + ".>"}}
	for _, part := range append(parts, Permissions{Publish: onStreams("STREAM.INFO.%s", allStreams...)}) { // every role binds the streams once
		all.Publish = append(all.Publish, part.Publish...)
		all.Subscribe = append(all.Subscribe, part.Subscribe...)
	}
	slices.Sort(all.Publish)
	slices.Sort(all.Subscribe)
	return Permissions{Publish: slices.Compact(all.Publish), Subscribe: slices.Compact(all.Subscribe)}
}

// processSubjects: processes divide oned's connections among them.
var processSubjects = Permissions{Publish: []string{SubjectsProcess}, Subscribe: []string{SubjectsProcess}}

// bridgeSubjects: events and leases, its dead letters, reading ONE, and one cursor.
var bridgeSubjects = Permissions{
	Publish: slices.Concat(
		[]string{SubjectsONE, SubjectsBridge, DeadSubject("bridge"), "$KV." + BucketCheckpoint + "." + ComparedKey},
		readings(StreamONE), readings(StreamOf(BucketCheckpoint)),
	),
	Subscribe: []string{SubjectsBridge},
}

// workerSubjects: wake-ups, timers, history and records, and the API's inboxes.
var workerSubjects = Permissions{
	Publish: slices.Concat(
		[]string{
			SubjectsWork, SubjectsTimer, SubjectsFlow, DeadSubject("worker"), DeadSubject("work"), DeadSubject("events"), SubjectsWorker,
			keys(BucketState), keys(BucketCheckpoint), keys(BucketOwners), keys(BucketCommands),
			RoleAPI.InboxPrefix() + ".>", RoleAll.InboxPrefix() + ".>",
			SubjectsHook, keys(BucketHooks), DeadSubject("webhook"),
		},
		// A timer is cancelled by purging its subject.
		onStreams("STREAM.PURGE.%s", StreamWork),
		readings(StreamONE), readings(StreamWork), readings(StreamFlow),
		readings(StreamOf(BucketState)), readings(StreamOf(BucketCheckpoint)),
		readings(StreamOf(BucketOwners)), readings(StreamOf(BucketCommands)),
		// A delivered message is deleted.
		readings(StreamHook), readings(StreamOf(BucketHooks)), onStreams("STREAM.MSG.DELETE.%s", StreamHook),
	),
	Subscribe: []string{SubjectsWorker},
}

// apiSubjects: commands, which wake a service, and reading their results,
// and the status of services and of the work.
var apiSubjects = Permissions{
	Publish: slices.Concat(
		[]string{SubjectsWork, keys(BucketCommands)},
		readings(StreamFlow), readings(StreamWork), readings(StreamONE), readings(StreamDead),
		readings(StreamOf(BucketState)), readings(StreamOf(BucketCommands)), readings(StreamOf(BucketCheckpoint)),
	),
	Subscribe: []string{SubjectsFlow, SubjectsWorker, SubjectsBridge},
}

// readerSubjects: everything that is stored, message by message, and the published messages.
// A reader is in an account of its own, which imports these subjects. In Flowjet's account
// any request could name a subject of Flowjet's for the answer, and a consumer one for its
// deliveries: NATS checks neither against the user's permission to publish.
func readerSubjects() Permissions {
	all := Permissions{
		Publish:   []string{"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES"},
		Subscribe: []string{SubjectsONE, "flow.>"},
	}
	for _, stream := range allStreams {
		for _, call := range []string{"STREAM.INFO.%s", "STREAM.MSG.GET.%s", "DIRECT.GET.%s", "DIRECT.GET.%s.>"} {
			all.Publish = append(all.Publish, onStreams(call, stream)...)
		}
		if bucket, isBucket := strings.CutPrefix(stream, js.BucketPrefix); isBucket {
			all.Subscribe = append(all.Subscribe, keys(bucket))
		}
	}
	return all
}

// readings returns the calls to read a stream: message by message, and by an ordered consumer of one's
// own, whose flow control the reader answers: the server delivers some 2 MB and no more until then.
// The second form of its subjects has the domain and the account in front.
func readings(stream string) []string {
	subjects := []string{"$JS.FC." + stream + ".*.*", "$JS.FC.*.*." + stream + ".*.*"}
	for _, call := range []string{
		"STREAM.MSG.GET.%s", "DIRECT.GET.%s", "DIRECT.GET.%s.>",
		"CONSUMER.CREATE.%s.>", "CONSUMER.INFO.%s.*", "CONSUMER.MSG.NEXT.%s.*", "CONSUMER.DELETE.%s.*",
	} {
		subjects = append(subjects, onStreams(call, stream)...)
	}
	return subjects
}

func onStreams(call string, streams ...string) []string {
	var subjects []string
	for _, stream := range streams {
		subjects = append(subjects, "$JS.API."+fmt.Sprintf(call, stream))
	}
	return subjects
}

func keys(bucket string) string { return "$KV." + bucket + ".>" }

// allStreams are the streams, including those under the buckets.
var allStreams = []string{
	StreamONE, StreamWork, StreamFlow, StreamHook, StreamDead,
	StreamOf(BucketState), StreamOf(BucketCheckpoint), StreamOf(BucketOwners), StreamOf(BucketCommands),
	StreamOf(BucketHooks),
}
