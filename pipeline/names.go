package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// The streams. Every name that Flowjet uses on NATS is in this file.
const (
	// StreamONE holds every bridged event in feed order, subjects one.>, 72 h.
	StreamONE = "ONE"
	// StreamWork holds the inputs that wake services, in order per service, and the
	// timers. It has no MaxBytes: that would evict timers.
	StreamWork = "WORK"
	// StreamFlow holds the services' transitions, 90 days.
	StreamFlow = "FLOW"
	// StreamHook holds deliveries to webhooks, until they are done.
	StreamHook = "HOOK"
	// StreamDead holds messages that could not be parsed or handled, 30 days.
	StreamDead = "DLQ"
)

// The key-value buckets.
const (
	// BucketState holds a service's Record under its id.
	BucketState = "FLOW_STATE"
	// BucketCheckpoint holds a reader's cursor: "work-<partition>", "router"; and
	// under "compared" the id below which all VMs were compared with oned.
	BucketCheckpoint = "FLOW_CHECKPOINT"
	// BucketOwners holds "vm-<id>" and "net-<id>" -> service id.
	BucketOwners = "FLOW_OWNERS"
	// BucketHooks holds the Attempts of the webhook deliveries that have failed,
	// under "<receiver>.<service>".
	BucketHooks = "FLOW_HOOKS"
	// BucketCommands holds a CommandStatus under the command's id, 24 h.
	BucketCommands = "FLOW_COMMANDS"
)

// StreamOf returns the stream under a bucket.
func StreamOf(bucket string) string { return js.BucketPrefix + bucket }

// IsBucket reports whether a stream is under a bucket.
func IsBucket(stream string) bool { return strings.HasPrefix(stream, js.BucketPrefix) }

// Headers of our own.
const (
	// HeaderReplyTo is the inbox for a command's reply. (A core
	// NATS reply subject would be answered by the stream's own ack.)
	HeaderReplyTo = "Flowjet-Reply-To"
	// HeaderFeed is the feed that an event was received on.
	HeaderFeed = "Flowjet-Feed"
	// HeaderResync marks an event that was found by comparing, not received.
	HeaderResync = "Flowjet-Resync"
	// HeaderNonce identifies one write of a service's record.
	HeaderNonce = "Flowjet-Nonce"
	// HeaderWebhooks holds the receivers that a service named when a transition was published, in JSON.
	HeaderWebhooks = "Flowjet-Webhooks"
	// HeaderTrace is the trace of a message, as the W3C's Trace
	// Context defines it. Only with tracing.
	HeaderTrace = js.HeaderTrace
	// HeaderReason is the reason why a message is in the dead-letter stream.
	HeaderReason = "Flowjet-Reason"
	// HeaderOrigin is the subject that a dead letter was on, if it can be sent there again.
	HeaderOrigin = "Flowjet-Origin"
)

// Partitions is the number of parts of the work. It cannot change
// without draining the stream: the partition is part of stored subjects.
const Partitions = 16

// The keys that are divided among the workers: one a partition, one for
// the router of events, and one for the autoscaler.
// Those of readers also name their cursors in BucketCheckpoint.
const (
	PartitionKeyPrefix = "work-"
	RouterKey          = "router"
	AutoscalerKey      = "autoscaler"
	// MembersKey holds the processes that are expected to run.
	MembersKey = "members"
	// ComparedKey names the bridges' own cursor.
	ComparedKey = "compared"
)

// WebhooksCursor is the cursor of the worker that finds the receivers of transitions.
const WebhooksCursor = "webhooks"

// PartitionKey returns the key of a partition's reader, which is also the name of its cursor.
func PartitionKey(partition int) string { return PartitionKeyPrefix + strconv.Itoa(partition) }

// Keys returns all keys that are divided among the live workers.
func Keys() []string {
	keys := make([]string, 0, Partitions+2)
	for partition := range Partitions {
		keys = append(keys, PartitionKey(partition))
	}
	return append(keys, RouterKey, AutoscalerKey)
}

// Subject filters, one for each stream and kind.
const (
	SubjectsONE = "one.>"
	// SubjectsEvents are all events of all zones: four tokens and more, which excludes the leases.
	SubjectsEvents = "one.*.*.>"
	SubjectsWork   = "flow.work.*"
	SubjectsTimer  = "flow.timer.>"
	SubjectsFlow   = "flow.event.>"
	// SubjectsFlowStates are the transitions of services, without those of their roles and objects.
	SubjectsFlowStates = "flow.event.*.service.*"

	SubjectsHook   = "flow.hook.>"
	SubjectsDead   = "flow.dlq.>"
	SubjectsLeases = "one.lease.*"
	SubjectsWorker = "flow.worker.*"
	SubjectsBridge = "flow.bridge.*"
	// SubjectsProcess are the processes' announcements, which are not stored.
	SubjectsProcess = "flow.process.*"
)

// ProcessSubject returns the subject of a process's announcements.
func ProcessSubject(process string) string { return "flow.process." + Token(process) }

// VMSubject returns the subject of a VM's state change: one.0.vm.21.ACTIVE.RUNNING.
func VMSubject(zone, id int, state, lcmState string) string {
	return "one." + strconv.Itoa(zone) + ".vm." + strconv.Itoa(id) + "." + Token(state) + "." + Token(lcmState)
}

// ObjectSubject returns the subject of a network's, host's or image's state
// change; object is net, host or image.
func ObjectSubject(zone int, object string, id int, state string) string {
	return "one." + strconv.Itoa(zone) + "." + Token(object) + "." + strconv.Itoa(id) + "." + Token(state)
}

// CallSubject returns the subject of an API call; call is "one.vm.update".
func CallSubject(zone int, call string, ok bool) string {
	outcome := "failed"
	if ok {
		outcome = "ok"
	}
	object, action, _ := strings.Cut(strings.TrimPrefix(call, "one."), ".")
	return fmt.Sprintf("one.%d.api.%s.%s.%s", zone, Token(object), Token(action), outcome)
}

// CallSubjects returns the filter for the calls about objects of a kind, such as "document".
func CallSubjects(zone int, object string) string {
	return fmt.Sprintf("one.%d.api.%s.>", zone, Token(object))
}

// LeaseSubject returns the subject of the leases of a feed.
func LeaseSubject(feed string) string { return "one.lease." + Token(feed) }

// BridgeSubject returns the subject of the heartbeats of the bridge that publishes a
// feed. It is core NATS: no stream stores it.
func BridgeSubject(feed string) string { return "flow.bridge." + Token(feed) }

// WorkSubject returns the subject that wakes a service. The stream stores it under StoredWorkSubject.
func WorkSubject(service int) string { return "flow.work." + strconv.Itoa(service) }

// StoredWorkSubject returns a service's work subject as stored in the stream.
func StoredWorkSubject(service int) string {
	return fmt.Sprintf("flow.work.%d.%d", Partition(service), service)
}

// PartitionSubjects returns the filter for one partition of the work.
func PartitionSubjects(partition int) string { return fmt.Sprintf("flow.work.%d.*", partition) }

// Partition returns the partition that the stream's transform partition(16,1) gives a service:
// FNV-1a-32 of its id as text, modulo 16.
func Partition(service int) int {
	hash := fnv.New32a()
	hash.Write([]byte(strconv.Itoa(service)))
	return int(hash.Sum32() % Partitions)
}

// TimerSubject returns the subject of the schedule of a service's timer.
func TimerSubject(service int, name string) string {
	return fmt.Sprintf("flow.timer.%d.%s", service, Token(name))
}

// TransitionSubject returns the subject of a transition of a service, or of its role, VM, network or virtual
// router: flow.event.42.role.web.RUNNING.
func TransitionSubject(transition Transition) string {
	about := "service"
	switch transition.Kind {
	case "role", "router":
		about = transition.Kind + "." + Token(transition.Role)
	case "network": // by the service's own name for it
		about = "network." + Token(transition.Network)
	case "vm":
		if transition.VM != nil {
			about = fmt.Sprintf("vm.%d", *transition.VM)
		}
	}
	return fmt.Sprintf("flow.event.%d.%s.%s", transition.Service, about, Token(transition.New))
}

// HookSubject returns the subject of the deliveries about a service to a receiver.
func HookSubject(receiver string, service int) string {
	return fmt.Sprintf("flow.hook.%s.%d", Token(receiver), service)
}

// ReadHookSubject returns the receiver's token and the service of a HookSubject, and reports whether it is one.
func ReadHookSubject(subject string) (receiver string, service int, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 || tokens[0] != "flow" || tokens[1] != "hook" {
		return "", 0, false
	}
	service, err := strconv.Atoi(tokens[3])
	return tokens[2], service, err == nil
}

// TransitionSubjects returns the filter for the transitions of one service, or with a negative id of all.
func TransitionSubjects(service int) string {
	if service < 0 {
		return SubjectsFlow
	}
	return fmt.Sprintf("flow.event.%d.>", service)
}

// ObjectSubjects returns the filter for all events of one object of a zone; object is vm or net.
func ObjectSubjects(zone int, object string, id int) string {
	return fmt.Sprintf("one.%d.%s.%d.>", zone, object, id)
}

// KindSubjects returns the filter for all events of a zone's VMs, or networks.
func KindSubjects(zone int, object string) string { return fmt.Sprintf("one.%d.%s.>", zone, object) }

// KeySubject returns the subject of a key in the stream under a bucket.
func KeySubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// DeadPrefix is the beginning of the subjects of dead letters.
const DeadPrefix = "flow.dlq."

// DeadSubject returns the subject of the dead letters of the part named where.
func DeadSubject(where string) string { return DeadPrefix + Token(where) }

// WorkerSubject returns the subject of a worker's heartbeats.
func WorkerSubject(worker string) string { return "flow.worker." + Token(worker) }

// Hostname returns the host's name for names on NATS, "unknown" without one.
func Hostname() string {
	name, _ := os.Hostname() // empty with an error
	return cmp.Or(name, "unknown")
}

const (
	// maxToken bounds a token of a subject in bytes. Flowjet's own names are not longer;
	// names that others write into documents and templates can be.
	maxToken = 128
	// keptOfToken is how much of a longer name is kept in front of its hash.
	keptOfToken = 64
)

// Token makes one subject token of a name: characters with a meaning to NATS
// become '_', an empty name becomes "_", and a name longer than maxToken its beginning and
// its hash: a line longer than NATS's limit ends the connection for good.
func Token(name string) string {
	if len(name) > maxToken {
		hash := sha256.Sum256([]byte(name))
		name = strings.ToValidUTF8(name[:keptOfToken], "") + "-" + hex.EncodeToString(hash[:8])
	}
	if name != "" && strings.IndexFunc(name, structural) < 0 && utf8.ValidString(name) {
		return name
	}
	clean := strings.Map(func(r rune) rune {
		if structural(r) {
			return '_'
		}
		return r
	}, name)
	return cmp.Or(clean, "_")
}

func structural(r rune) bool { return r <= ' ' || r == '.' || r == '*' || r == '>' || r == 0x7f }
