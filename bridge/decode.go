package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// decodeAtOnce is how many messages are decoded at a time: enough to make handing over cheap.
const decodeAtOnce = 64

// decodeQueue decodes the queue's messages and passes them on in the order in which they were received. After ctx it
// finishes the queued ones. One decoder is enough: JetStream takes longer for an event.
func decodeQueue(ctx context.Context, q *queue, d *decoder, pass func(entries []entry, messages int)) {
	for items := q.next(ctx); len(items) > 0; items = q.next(ctx) {
		pass(d.decode(items), len(items))
	}
}

func (d *decoder) decode(items []item) []entry {
	entries := make([]entry, 0, len(items))
	for _, i := range items {
		if m := d.translate(i); m.passes {
			entries = append(entries, m.entry)
		}
	}
	return entries
}

// deadLetter describes a message that could not be parsed. It leaves out the body, which may hold secrets.
type deadLetter struct {
	Endpoint string    `json:"endpoint"`
	Key      string    `json:"key"`
	Frames   int       `json:"frames"`
	Bytes    int       `json:"bytes"`
	SHA256   string    `json:"sha256"`
	Heard    time.Time `json:"heard"`
}

// decoder makes events of an endpoint's messages, in memory of its own.
type decoder struct {
	zone     int
	filter   filter
	endpoint string
	events   opennebula.EventDecoder
	digest   *xxhash.Digest
}

func newDecoder(zone int, filter filter, endpoint string) *decoder {
	return &decoder{zone: zone, filter: filter, endpoint: endpoint, digest: xxhash.New()}
}

// translate makes an event or a dead letter of a message; an unwanted message does not pass.
func (d *decoder) translate(i item) translation {
	if i.translation != nil {
		return *i.translation
	}
	defer i.slab.release()
	if len(i.frames) != 2 {
		return d.dead(i, fmt.Errorf("a hook event has two frames, this has %d", len(i.frames)))
	}
	text := string(i.frames[0])
	key, err := opennebula.ParseKey(text)
	if err != nil {
		return d.dead(i, err)
	}
	if !d.filter.passes(key) {
		return translation{}
	}
	hook, err := d.events.Decode(text, key, i.frames[1])
	if err != nil {
		return d.dead(i, err)
	}
	if hook.Call == probeCall && hook.ID == probeID && !hook.OK {
		return translation{} // the answer to a bridge's probe
	}
	event := pipeline.Event{
		Version: pipeline.Version, Zone: d.zone, Object: hook.Object, ID: hook.ID, State: hook.State, LCMState: hook.LCMState,
		VM: hook.VM, Host: hook.Host, Call: hook.Call, OK: hook.OK, Ready: hook.Ready, Heard: i.heard,
	}
	return translation{passes: true, entry: entry{
		subject: subject(event), hash: hashOf(d.digest, i.frames), objectID: objectID{event.Object, event.ID}, data: pipeline.EncodeEvent(&event), heard: i.heard,
	}}
}

func subject(event pipeline.Event) string {
	switch event.Object {
	case "vm":
		return pipeline.VMSubject(event.Zone, event.ID, event.State, event.LCMState)
	case opennebula.ObjectAPI:
		return pipeline.CallSubject(event.Zone, event.Call, event.OK)
	}
	return pipeline.ObjectSubject(event.Zone, event.Object, event.ID, event.State)
}

const hashLength = 16

// hashOf returns the frames' XXH64, in hex. It has to be the same in every bridge. An
// attacker gains nothing by two equal ones: each event has a number as well.
func hashOf(digest *xxhash.Digest, frames [][]byte) string {
	digest.Reset()
	var space [hashLength]byte
	for _, frame := range frames {
		_, _ = digest.Write(append(strconv.AppendInt(space[:0], int64(len(frame)), 10), ':')) // never fails
		_, _ = digest.Write(frame)
	}
	return hex.EncodeToString(digest.Sum(space[:0]))
}

// dead returns a dead letter as an entry among the events. It has no hash.
func (d *decoder) dead(i item, reason error) translation {
	dead := deadLetter{Endpoint: d.endpoint, Frames: len(i.frames), Heard: i.heard}
	if len(i.frames) > 0 {
		const longest = 120
		dead.Key = strings.ToValidUTF8(string(i.frames[0][:min(len(i.frames[0]), longest)]), "?")
	}
	if len(i.frames) > 1 {
		digest := sha256.Sum256(i.frames[1])
		dead.Bytes, dead.SHA256 = len(i.frames[1]), hex.EncodeToString(digest[:])
	}
	return translation{passes: true, entry: entry{subject: reason.Error(), data: pipeline.Encode(dead), heard: i.heard}}
}

// The kinds of object whose state changes can pass, and the call that reports READY.
const (
	objectVM  = "vm"
	objectNet = "net"
	callReady = "one.vm.update"
)

var knownObjects = []string{objectVM, objectNet, "host", "image"}

// filter selects the events that pass, by the names of Config.Events. Of each event the same few attributes
// pass, whatever the filter: it can let more kinds of event through, and no secret.
type filter []string

func newFilter(names []string) (filter, error) {
	f := make(filter, len(names))
	for i, name := range names {
		object, state, some := strings.Cut(name, "/")
		switch call := strings.HasPrefix(name, "one."); {
		case call && (strings.Count(name, ".") != 2 || strings.ContainsAny(name, " \t")):
			return nil, fmt.Errorf("bridge.events has the call %q: a call has the form one.vm.update, or one.vm.* for all calls about VMs", name)
		case !call && !slices.Contains(knownObjects, object):
			return nil, fmt.Errorf("bridge.events has the object %q: it must be one of %s", object, strings.Join(knownObjects, ", "))
		case some && state == "":
			return nil, fmt.Errorf("bridge.events has the state %q: a state has the form vm/DONE, vm/ACTIVE/RUNNING or net/READY", name)
		case some:
			name = object + "/" + strings.ToUpper(state)
		}
		f[i] = name
	}
	return f, nil
}

// passes reports whether a message with this key is wanted.
func (f filter) passes(key opennebula.HookKey) bool {
	if key.Object == opennebula.ObjectAPI {
		return f.passesCall(key.Call)
	}
	return f.passesState(key.Object, key.State, key.LCMState)
}

// passesCall reports whether a call is wanted, by its name or as one of all calls about an object.
func (f filter) passesCall(call string) bool {
	about := call[:strings.LastIndexByte(call, '.')+1]
	return slices.Contains(f, call) || slices.Contains(f, about+"*")
}

// callsOfLists are the calls after which a kept list of documents may be outdated.
var callsOfLists = []string{"one.document.*", "one.acl.*", "one.user.*", "one.group.*"}

func (f filter) passesState(object, state, lcmState string) bool {
	return slices.Contains(f, object) || slices.Contains(f, object+"/"+state) || slices.Contains(f, object+"/"+state+"/"+lcmState)
}

// warn logs if the filter drops events that services wait for.
func (f filter) warn(log *slog.Logger) {
	missing := slices.DeleteFunc([]string{objectVM, objectNet}, func(object string) bool { return slices.Contains(f, object) })
	if !f.passesCall(callReady) {
		missing = append(missing, callReady)
	}
	if len(missing) > 0 {
		log.Warn("the bridge's filter drops events that services need: they are only checked at intervals", "filtered", missing)
	}
}
