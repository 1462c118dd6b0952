package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Role is what a process is to NATS. Each has its own user there and may do what
// its part has to do, and nothing else.
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

// InboxPrefix is what the role's inboxes begin with: nobody else may listen
// there. (Without one of its own everybody could read everybody's answers.)
func (r Role) InboxPrefix() string { return "_INBOX." + string(r) }

// Permissions are exact where JetStream's API is: a name for each stream.
// What they cannot say is in docs/adr/0050-who-may-do-what-on-nats.md.
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
			Permissions{Subscribe: []string{SubjectsONE, SubjectsFlow, SubjectsDead}}) // `flowjet up` prints a line for each thing that happens
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

// own puts together what parts may do, and the role's own inbox.
func own(r Role, parts ...Permissions) Permissions {
	all := Permissions{Subscribe: []string{r.InboxPrefix() + ".>"}}
	for _, part := range append(parts, Permissions{Publish: onStreams("STREAM.INFO.%s", allStreams...)}) { // everybody looks the streams up once
		all.Publish = append(all.Publish, part.Publish...)
		all.Subscribe = append(all.Subscribe, part.Subscribe...)
	}
	slices.Sort(all.Publish)
	slices.Sort(all.Subscribe)
	return Permissions{Publish: slices.Compact(all.Publish), Subscribe: slices.Compact(all.Subscribe)}
}

// processSubjects: processes share out what oned can bear.
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
		// What is delivered to a webhook is deleted.
		readings(StreamHook), readings(StreamOf(BucketHooks)), onStreams("STREAM.MSG.DELETE.%s", StreamHook),
	),
	Subscribe: []string{SubjectsWorker},
}

// apiSubjects: commands, which wake a service, and reading what became of them,
// and why a service and the work stand as they do.
var apiSubjects = Permissions{
	Publish: slices.Concat(
		[]string{SubjectsWork, keys(BucketCommands)},
		readings(StreamFlow), readings(StreamWork), readings(StreamONE), readings(StreamDead),
		readings(StreamOf(BucketState)), readings(StreamOf(BucketCommands)), readings(StreamOf(BucketCheckpoint)),
	),
	Subscribe: []string{SubjectsFlow, SubjectsWorker, SubjectsBridge},
}

// readerSubjects: everything that is stored, message by message, and what is published.
// A reader is in an account of its own, which imports these subjects. In Flowjet's account
// any request could name a subject of Flowjet's for the answer, and a consumer one for what
// it delivers: NATS holds neither against what the user may publish.
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

// readings are the calls to read a stream: message by message, and by an ordered consumer of one's
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

// allStreams are the streams, and those under the buckets.
var allStreams = []string{
	StreamONE, StreamWork, StreamFlow, StreamHook, StreamDead,
	StreamOf(BucketState), StreamOf(BucketCheckpoint), StreamOf(BucketOwners), StreamOf(BucketCommands),
	StreamOf(BucketHooks),
}
