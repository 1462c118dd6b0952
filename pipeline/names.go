package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// The streams. Every name that Flowjet uses on NATS is in this file.
const (
	// StreamONE holds every bridged event in feed order, subjects one.>, 72 h.
	StreamONE = "ONE"
	// StreamWork holds what wakes services, in order per service, and the
	// timers. It has no MaxBytes: that would evict timers.
	StreamWork = "WORK"
	// StreamFlow holds what happened to services, 90 days.
	StreamFlow = "FLOW"
	// StreamHook holds what is to be delivered to webhooks, until it is.
	StreamHook = "HOOK"
	// StreamDead holds what could not be understood or done, 30 days.
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

// StreamOf is the stream under a bucket.
func StreamOf(bucket string) string { return js.BucketPrefix + bucket }

// Headers of our own.
const (
	// HeaderReplyTo is the inbox that a command's reply is sent to. (A core
	// NATS reply subject would be answered by the stream's own ack.)
	HeaderReplyTo = "Flowjet-Reply-To"
	// HeaderEarlierHash was, in an earlier version, another hash than that in the message id.
	HeaderEarlierHash = "Flowjet-Hash"
	// HeaderFeed is the feed that an event was heard on.
	HeaderFeed = "Flowjet-Feed"
	// HeaderResync marks an event that was found by comparing, not heard.
	HeaderResync = "Flowjet-Resync"
	// HeaderNonce identifies one write of a service's record.
	HeaderNonce = "Flowjet-Nonce"
	// HeaderWebhooks holds the receivers that a service named when a transition was published, in JSON.
	HeaderWebhooks = "Flowjet-Webhooks"
	// HeaderTrace is the trace that a message belongs to, as the W3C's Trace
	// Context defines it. Only with tracing.
	HeaderTrace = js.HeaderTrace
	// HeaderReason says why a message is in the dead-letter stream.
	HeaderReason = "Flowjet-Reason"
	// HeaderOrigin is the subject that a dead letter was on, where it can be sent there again.
	HeaderOrigin = "Flowjet-Origin"
)

// Partitions is how many parts the work is split into. It cannot change
// without draining the stream: the partition stands in stored subjects.
const Partitions = 16

// The keys that workers share out among themselves: one a partition, one for
// whoever routes events, and one for whoever measures for elasticity policies.
// Those of readers also name their cursors in BucketCheckpoint.
const (
	PartitionKeyPrefix = "work-"
	RouterKey          = "router"
	AutoscalerKey      = "autoscaler"
	// MembersKey is where the processes stand that are expected to be there.
	MembersKey = "members"
	// ComparedKey names the bridges' own cursor.
	ComparedKey = "compared"
)

// WebhooksCursor is the cursor of whoever finds the receivers of transitions.
const WebhooksCursor = "webhooks"

// PartitionKey is the key of a partition's reader, and the name of its cursor.
func PartitionKey(partition int) string { return PartitionKeyPrefix + strconv.Itoa(partition) }

// Keys are all keys that the live workers share out among them.
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
	// SubjectsEvents are all events of all zones: four tokens and more, which leaves the leases out.
	SubjectsEvents = "one.*.*.>"
	SubjectsWork   = "flow.work.*"
	SubjectsTimer  = "flow.timer.>"
	SubjectsFlow   = "flow.event.>"
	SubjectsHook   = "flow.hook.>"
	SubjectsDead   = "flow.dlq.>"
	SubjectsLeases = "one.lease.*"
	SubjectsWorker = "flow.worker.*"
	SubjectsBridge = "flow.bridge.*"
	// SubjectsProcess are the processes' announcements, which are not stored.
	SubjectsProcess = "flow.process.*"
)

// ProcessSubject is where a process announces itself.
func ProcessSubject(process string) string { return "flow.process." + Token(process) }

// VMSubject is where a VM's state change is published: one.0.vm.21.ACTIVE.RUNNING.
func VMSubject(zone, id int, state, lcmState string) string {
	return "one." + strconv.Itoa(zone) + ".vm." + strconv.Itoa(id) + "." + Token(state) + "." + Token(lcmState)
}

// ObjectSubject is where a network's, host's or image's state change is
// published; object is net, host or image.
func ObjectSubject(zone int, object string, id int, state string) string {
	return "one." + strconv.Itoa(zone) + "." + Token(object) + "." + strconv.Itoa(id) + "." + Token(state)
}

// CallSubject is where an API call is published; call is "one.vm.update".
func CallSubject(zone int, call string, ok bool) string {
	outcome := "failed"
	if ok {
		outcome = "ok"
	}
	object, action, _ := strings.Cut(strings.TrimPrefix(call, "one."), ".")
	return fmt.Sprintf("one.%d.api.%s.%s.%s", zone, Token(object), Token(action), outcome)
}

// CallSubjects are the calls for objects of a kind, such as "document".
func CallSubjects(zone int, object string) string {
	return fmt.Sprintf("one.%d.api.%s.>", zone, Token(object))
}

// LeaseSubject is where the bridge that publishes a feed holds its lease.
func LeaseSubject(feed string) string { return "one.lease." + Token(feed) }

// BridgeSubject is where the bridge that publishes a feed announces that it is
// alive. It is core NATS: no stream stores it.
func BridgeSubject(feed string) string { return "flow.bridge." + Token(feed) }

// WorkSubject is where a service is woken. The stream stores it under StoredWorkSubject.
func WorkSubject(service int) string { return "flow.work." + strconv.Itoa(service) }

// StoredWorkSubject is a service's work subject as it stands in the stream.
func StoredWorkSubject(service int) string {
	return fmt.Sprintf("flow.work.%d.%d", Partition(service), service)
}

// PartitionSubjects is the filter for one partition of the work.
func PartitionSubjects(partition int) string { return fmt.Sprintf("flow.work.%d.*", partition) }

// Partition is where the stream's transform partition(16,1) puts a service:
// FNV-1a-32 of its id as text, modulo 16.
func Partition(service int) int {
	hash := fnv.New32a()
	hash.Write([]byte(strconv.Itoa(service)))
	return int(hash.Sum32() % Partitions)
}

// TimerSubject is where a service's timer is scheduled.
func TimerSubject(service int, name string) string {
	return fmt.Sprintf("flow.timer.%d.%s", service, Token(name))
}

// TransitionSubject is where what happened to a service, or to its role, VM, network or virtual
// router, is published: flow.event.42.role.web.RUNNING.
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

// HookSubject is where deliveries about a service wait for a receiver.
func HookSubject(receiver string, service int) string {
	return fmt.Sprintf("flow.hook.%s.%d", Token(receiver), service)
}

// TransitionSubjects are what happened to one service, or with a negative id to all.
func TransitionSubjects(service int) string {
	if service < 0 {
		return SubjectsFlow
	}
	return fmt.Sprintf("flow.event.%d.>", service)
}

// ObjectSubjects are all events of one object of a zone; object is vm or net.
func ObjectSubjects(zone int, object string, id int) string {
	return fmt.Sprintf("one.%d.%s.%d.>", zone, object, id)
}

// KindSubjects are all events of a zone's VMs, or networks.
func KindSubjects(zone int, object string) string { return fmt.Sprintf("one.%d.%s.>", zone, object) }

// KeySubject is where the stream under a bucket keeps a key.
func KeySubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// DeadPrefix begins the subjects of dead letters.
const DeadPrefix = "flow.dlq."

// DeadSubject is where a message goes that where could not handle.
func DeadSubject(where string) string { return DeadPrefix + Token(where) }

// WorkerSubject is where a worker sends its heartbeats.
func WorkerSubject(worker string) string { return "flow.worker." + Token(worker) }

const (
	// maxToken bounds a token of a subject in bytes. Flowjet takes no longer names;
	// what others write into documents and templates can be longer.
	maxToken = 128
	// keptOfToken is how much of a longer name is left in front of its hash.
	keptOfToken = 64
)

// Token makes one subject token of a name: what NATS would read as structure
// becomes '_', nothing becomes "_", and a name longer than maxToken its beginning and
// its hash: a line that is longer than NATS takes ends the connection for good.
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
