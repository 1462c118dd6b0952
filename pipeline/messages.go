package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"go.opentelemetry.io/otel/propagation"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Version is the schema version of every message and record that this package writes. Readers accept it and every older one, and leave newer ones to
// a newer Flowjet. It grows with every change that an older one would misread, or lose by writing a record again: a new field of a record is one. The
// fields of events and transitions keep their meanings for ever, and older readers ignore new ones.
const Version = 3

// Event is a message on StreamONE: a hook event, reduced to the data that services and operators
// need. No template text but READY, SERVICE_ID, ROLE_NAME and FLOWJET_KEY passes.
type Event struct {
	Version int `json:"v"`
	Zone    int `json:"zone"`
	// Object is vm, net, host, image or api.
	Object string `json:"object"`
	ID     int    `json:"id"`
	// State and LCMState are names, as in the hook event.
	State    string `json:"state,omitempty"`
	LCMState string `json:"lcm_state,omitempty"`
	// VM is set for object vm.
	VM *one.VM `json:"vm,omitempty"`
	// Host is the REMOTE_HOST of a VM event.
	Host string `json:"host,omitempty"`
	// Call and OK are set for object api; ID is then that of the call's object.
	Call string `json:"call,omitempty"`
	OK   bool   `json:"ok,omitempty"`
	// Ready is set if a one.vm.update wrote READY.
	Ready *bool `json:"ready,omitempty"`
	// Resync reports whether a comparison found the event, instead of the bridge receiving it.
	Resync bool `json:"resync,omitempty"`
	// Heard is when the bridge received it.
	Heard time.Time `json:"heard"`
	// Trace is the trace that began with it, for WithTrace; it is in a header.
	Trace string `json:"-"`
}

// Title returns a short name of the event: "vm 21 ACTIVE/RUNNING".
func (e Event) Title() string {
	switch {
	case e.Call != "":
		return fmt.Sprintf("%s %d", e.Call, e.ID)
	case e.LCMState != "":
		return fmt.Sprintf("%s %d %s/%s", e.Object, e.ID, e.State, e.LCMState)
	}
	return fmt.Sprintf("%s %d %s", e.Object, e.ID, e.State)
}

// Work is a message on StreamWork: something that wakes one service. Exactly one of Event, Trouble,
// Command, Timer and Measures is set, or none for a bare wake-up.
type Work struct {
	Version int    `json:"v"`
	Service int    `json:"service"`
	Event   *Event `json:"event,omitempty"`
	// Trouble are the states that events gave of several VMs: oned is asked before they are believed. To a version without the field it is a bare
	// wake-up, which asks about all.
	Trouble []Trouble     `json:"trouble,omitempty"`
	Command *flow.Command `json:"command,omitempty"`
	Timer   *Timer        `json:"timer,omitempty"`
	// Measures are the autoscaler's measures for the service's policies.
	Measures *policy.Measures `json:"measures,omitempty"`
	// Reason is why a wake-up without an event was sent.
	Reason string `json:"reason,omitempty"`
	// Scan reports whether the regular scan of all services sent the bare wake-up: a worker that has just read oned need not
	// read again. A version without the field reads.
	Scan bool `json:"scan,omitempty"`
	// Taken reports whether the service is taken over from a OneFlow that was found stopped: it is no longer left alone.
	Taken bool `json:"taken,omitempty"`
	// Lost reports whether NATS has lost messages: the service is loaded anew, which sets its timers again. Waiting are the commands that
	// waited for it then: one that is not handled by now is lost. A version without the fields checks oned only.
	Lost    bool     `json:"lost,omitempty"`
	Waiting []string `json:"waiting,omitempty"`
	// Newer reports whether a newer Flowjet wrote the work: only its service is known here. It must not be skipped.
	Newer bool `json:"-"`
}

// Trouble is the state that an event gave of a VM.
type Trouble struct {
	VM       int          `json:"vm"`
	State    one.VMState  `json:"state"`
	LCMState one.LCMState `json:"lcm_state"`
}

// TroubleOf returns the state that an event gave of a VM.
func TroubleOf(vm one.VM) Trouble { return Trouble{VM: vm.ID, State: vm.State, LCMState: vm.LCMState} }

// Timer is a scheduled wake-up that has come due.
type Timer struct {
	Name string `json:"name"`
	// Generation grows each time the timer is set; an older one is ignored.
	Generation uint64 `json:"generation"`
	// Due is when the timer was set to fire.
	Due time.Time `json:"due"`
}

// Reply is a worker's answer to a command, sent to its HeaderReplyTo inbox and kept in BucketCommands.
type Reply struct {
	Version int    `json:"v"`
	Command string `json:"command"`
	// Refused is empty when the command was accepted.
	Refused flow.RefusalKind `json:"refused,omitempty"`
	Message string           `json:"message,omitempty"`
	Time    time.Time        `json:"time"`
}

// The states of a CommandStatus.
const (
	CommandQueued  = "queued"
	CommandDone    = "done"
	CommandRefused = "refused"
)

// CommandStatus is the value in BucketCommands under a command's id.
type CommandStatus struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
	// State is queued, done or refused.
	State   string    `json:"state"`
	Verb    flow.Verb `json:"verb"`
	Service int       `json:"service"`
	// UID is that of the user who may read it.
	UID     int       `json:"uid"`
	Message string    `json:"message,omitempty"`
	Queued  time.Time `json:"queued"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Record is the value in BucketState of a service: decisions that are not yet in its document, so that any worker can go on.
type Record struct {
	Version int `json:"v"`
	// Applied is the sequence of the last input that the record includes.
	Applied uint64 `json:"applied"`
	// State is the service as decided.
	State flow.State `json:"state"`
	// Saved is the digest of the document's body last written to oned. Unless it is State's, the document is still to be written.
	Saved string `json:"saved,omitempty"`
	// Digests are those of the bodies decided on lately, newest last: a document with one of them was written by a worker that was too late.
	Digests []string `json:"digests,omitempty"`
	// Outbox is still to be published: kept until the next commit, sent with deterministic message ids, so that sending it again is harmless.
	Outbox Outbox `json:"outbox"`
	// Generation numbers the timers of the service.
	Generation uint64 `json:"generation,omitempty"`
	// Timers are the timers set, by name.
	Timers map[string]TimerState `json:"timers,omitempty"`
	// Replies are the latest command replies, newest last.
	Replies []Reply `json:"replies,omitempty"`
	// Deleted reports whether the service has ended and its document is gone, since Ended.
	Deleted bool      `json:"deleted,omitempty"`
	Ended   time.Time `json:"ended,omitzero"`
	// Since is the time from which on commands are the service's; the zero time for always. Earlier
	// ones are of another time: oned was restored, or the data is an older copy.
	Since time.Time `json:"since,omitzero"`
	// Written is when LoadRecord's record was stored.
	Written time.Time `json:"-"`
}

// TimerState is a timer as set.
type TimerState struct {
	Generation uint64    `json:"generation"`
	Due        time.Time `json:"due"`
}

// Outbox holds the transitions of a commit that are to be published.
type Outbox struct {
	Transitions []Transition `json:"transitions,omitempty"`
	// First is the number of the first transition, counted per service from 1: it makes the message ids.
	First uint64 `json:"first,omitempty"`
	// Webhooks are the receivers that the service names; kept when it ends.
	Webhooks []spec.Webhook `json:"webhooks,omitempty"`
}

// Input is one message of a partition's work, as a worker reads it.
type Input struct {
	// Sequence is the message's in StreamWork: inputs come in growing order.
	Sequence uint64
	Work     Work
	// ReplyTo is the inbox that a command's reply goes to; empty without one.
	ReplyTo   string
	Published time.Time
	// Trace is the trace that the input belongs to, for WithTrace.
	Trace string
}

// Wake is work with its message id and its trace.
type Wake struct {
	Work      Work
	MessageID string
	Trace     string
}

// Lease is the message on a feed's lease subject.
type Lease struct {
	Version int       `json:"v"`
	Feed    string    `json:"feed"`
	Holder  string    `json:"holder"`
	Token   string    `json:"token"`
	Time    time.Time `json:"time"`
	// Released means that the holder has released the feed.
	Released bool `json:"released,omitempty"`
	// Retired means that it was released because the zone no longer has the server.
	Retired bool `json:"retired,omitempty"`
}

// FeedBeat is the heartbeat of the bridge that publishes a feed, a few times a second on the feed's BridgeSubject.
type FeedBeat struct {
	Version int    `json:"v"`
	Feed    string `json:"feed"`
	Holder  string `json:"holder"`
	Token   string `json:"token"`
	// Lease is the lease's sequence in StreamONE.
	Lease uint64 `json:"lease"`
	// Leaving means that the feed is being released.
	Leaving bool `json:"leaving,omitempty"`
	// Disconnected means that the holder lives, and is not connected to the hook events.
	Disconnected bool `json:"disconnected,omitempty"`
}

// Process is the announcement of a process of Flowjet.
type Process struct {
	Version int    `json:"v"`
	ID      string `json:"process"`
	// Name is the same after a restart, and no other process's: its host, its parts and, if a host has several, its data folder.
	Name string `json:"name,omitempty"`
	Host string `json:"host,omitempty"`
	// Parts are those of bridge, worker and api that it runs.
	Parts []string `json:"parts,omitempty"`
	// Release is the version of Flowjet.
	Release string `json:"release,omitempty"`
	// Calling reports whether it makes calls to oned.
	Calling bool `json:"calling,omitempty"`
	// Hearing reports whether it passes on hook events of the zone's leader, and has made up for everything lost before.
	Hearing bool `json:"hearing,omitempty"`
	// Calls identifies the connection on which it receives all calls that change documents or who may see them; empty while it does not.
	Calls string `json:"calls,omitempty"`
	// Servers are the XML-RPC addresses that it knows of the zone's servers.
	Servers []string `json:"servers,omitempty"`
	OnedReads
	// Disk is that of its data folder; nil if it is not known.
	Disk    *Disk `json:"disk,omitempty"`
	Leaving bool  `json:"leaving,omitempty"`
}

// OnedReads counts reads of one object at oned in the last minute, and those of them that took more than 150 ms instead of some 2.
type OnedReads struct {
	Reads int `json:"reads"`
	Slow  int `json:"slow"`
}

// WorkerBeat is a worker's heartbeat on its WorkerSubject, a few times a second.
type WorkerBeat struct {
	Version int    `json:"v"`
	Worker  string `json:"worker"`
	// Process tells two processes of one worker id apart.
	Process string `json:"process"`
	// State is one of the states below.
	State string `json:"state"`
	// OnedUnreachable means that the worker lives and cannot reach oned.
	OnedUnreachable bool `json:"blind,omitempty"`
	// Blocked is why one of its services waits, as health has it; empty if none does.
	Blocked string `json:"blocked,omitempty"`
}

// The states of a WorkerBeat.
const (
	WorkerJoining = "joining"
	WorkerAlive   = "alive"
	WorkerLeaving = "leaving"
)

// Delivery is a message on StreamHook: a post to one receiver.
type Delivery struct {
	Version int `json:"v"`
	// ID is the transition's, "<service>-<number>": the same at every attempt.
	ID      string `json:"id"`
	Service int    `json:"service"`
	// Receiver is the name of one of the configuration, empty for one of the service, which has URL and Secret (a name) instead.
	Receiver string `json:"receiver,omitempty"`
	URL      string `json:"url,omitempty"`
	Secret   string `json:"secret,omitempty"`
	// Owner is the name of the service's owner, whose secrets may be used and whose share of the attempts this counts against.
	Owner string `json:"owner,omitempty"`
	// Body is posted byte by byte.
	Body json.RawMessage `json:"body"`

	// Sequence is the message's number in StreamHook, Queued when it was stored there.
	Sequence uint64    `json:"-"`
	Queued   time.Time `json:"-"`
}

// Attempts are the failed attempts of a delivery so far; BucketHooks holds them.
type Attempts struct {
	Version int `json:"v"`
	// Sequence is the delivery's.
	Sequence uint64 `json:"sequence"`
	Count    int    `json:"count"`
	// First is when the first attempt failed, Next when the next one is due.
	First time.Time `json:"first"`
	Next  time.Time `json:"next"`
	// Error is the error of the last one.
	Error string `json:"error"`
}

// Reservation is the value in BucketCommands under the name of a key with which a client marks a request, so that repeating it acts once.
type Reservation struct {
	Version int `json:"v"`
	// Command is the id of the request's command. Everything that the request makes carries it, too.
	Command string `json:"command"`
	// Request is a digest: the same key with another request is a mistake.
	Request string `json:"request"`
	// Taken is since when the request is being handled; zero when it is not.
	Taken time.Time `json:"taken,omitzero"`
	// Began is when the first attempt began: times in a request count from then, in every attempt.
	Began time.Time `json:"began,omitzero"`
	// Answer is the request's, once there is one.
	Answer *KeptAnswer `json:"answer,omitempty"`
}

// KeptAnswer is an HTTP answer that is sent again.
type KeptAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Location    string `json:"location,omitempty"`
	Body        []byte `json:"body,omitempty"`
}

// asBefore writes and reads messages as encoding/json does, like older versions on the same NATS, but reads each only once: whether
// the rest of a text can be read does not matter once a part cannot.
var asBefore = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false))

// Encode writes any message of this package.
func Encode(message any) []byte {
	text, err := jsonv2.Marshal(message, asBefore)
	if err != nil {
		// Only our own plain structs come here; failing means a programming error.
		panic("pipeline: encode " + err.Error())
	}
	return text
}

// EncodeEvent is Encode for an event in a third of the time: nothing else takes the bridge as long for each (ADR 115).
func EncodeEvent(e *Event) []byte {
	to := object{make([]byte, 0, 384)}
	to.number(`{"v":`, e.Version)
	to.number(`,"zone":`, e.Zone)
	to.text(`,"object":`, e.Object)
	to.number(`,"id":`, e.ID)
	to.textIfSet(`,"state":`, e.State)
	to.textIfSet(`,"lcm_state":`, e.LCMState)
	if vm := e.VM; vm != nil {
		to.number(`,"vm":{"id":`, vm.ID)
		to.textIfSet(`,"name":`, vm.Name)
		to.number(`,"owner":{"uid":`, vm.Owner.UID)
		to.number(`,"gid":`, vm.Owner.GID)
		to.text(`,"uname":`, vm.Owner.UName)
		to.text(`,"gname":`, vm.Owner.GName)
		to.number(`},"state":`, int(vm.State))
		to.number(`,"lcm_state":`, int(vm.LCMState))
		to.trueIf(`,"ready":`, vm.Ready)
		to.trueIf(`,"protected":`, vm.Protected)
		to.number(`,"service":`, vm.Service)
		to.textIfSet(`,"role":`, vm.Role)
		to.textIfSet(`,"key":`, vm.Key)
		to.json = append(to.json, '}')
	}
	to.textIfSet(`,"host":`, e.Host)
	to.textIfSet(`,"call":`, e.Call)
	to.trueIf(`,"ok":`, e.OK)
	if e.Ready != nil {
		to.json = strconv.AppendBool(append(to.json, `,"ready":`...), *e.Ready)
	}
	to.trueIf(`,"resync":`, e.Resync)
	to.json = e.Heard.AppendFormat(append(to.json, `,"heard":"`...), time.RFC3339Nano)
	return append(to.json, `"}`...)
}

// object is the text of a JSON object that is being written.
type object struct{ json []byte }

func (o *object) number(name string, value int) {
	o.json = strconv.AppendInt(append(o.json, name...), int64(value), 10)
}

// text writes a character that is not UTF-8 as the replacement character, as Encode does.
func (o *object) text(name, value string) {
	o.json, _ = jsontext.AppendQuote(append(o.json, name...), value)
}

func (o *object) textIfSet(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) trueIf(name string, value bool) {
	if value {
		o.json = append(append(o.json, name...), "true"...)
	}
}

// Decode reads any message of this package. Unknown fields are ignored.
func Decode(text []byte, message any) error {
	return jsonv2.Unmarshal(text, message, asBefore)
}

// DecodeEvent reads an event, also a newer Flowjet's: an older router would dead-letter all events of a newer bridge.
func DecodeEvent(data []byte) (Event, error) {
	var event Event
	if err := Decode(data, &event); err != nil {
		return Event{}, err
	}
	if event.Version < 1 {
		return Event{}, fmt.Errorf("schema version %d is not supported", event.Version)
	}
	return event, nil
}

// DecodeWork reads work of a schema version up to the one given. Of work that a newer Flowjet wrote only the service is read.
func DecodeWork(data []byte, schema int) (Work, error) {
	var work Work
	err := Decode(data, &work)
	if err == nil && work.Version >= 1 && work.Version <= schema {
		return work, nil // read once
	}
	var head struct {
		Version int `json:"v"`
		Service int `json:"service"`
	}
	switch malformed := Decode(data, &head); {
	case malformed != nil:
		return Work{}, malformed
	case head.Version < 1:
		return Work{}, fmt.Errorf("schema version %d is not supported", head.Version)
	case head.Version > schema:
		return Work{Version: head.Version, Service: head.Service, Newer: true}, nil
	}
	return Work{}, err
}

// WithTrace returns a context in which spans continue the trace that a message carried; an empty text changes nothing.
func WithTrace(ctx context.Context, carried string) context.Context {
	if carried == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{HeaderTrace: carried})
}
