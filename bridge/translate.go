package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// translator makes events of what was heard at an endpoint.
type translator struct {
	zone     int
	filter   filter
	endpoint string
}

// deadLetter is what is kept of a message that could not be understood. The
// body may hold secrets: only its length and hash are told.
type deadLetter struct {
	Endpoint string    `json:"endpoint"`
	Key      string    `json:"key"`
	Frames   int       `json:"frames"`
	Bytes    int       `json:"bytes"`
	SHA256   string    `json:"sha256"`
	Heard    time.Time `json:"heard"`

	reason string
}

// decoder is a translator at work, in memory of its own.
type decoder struct {
	*translator
	events opennebula.EventDecoder
	digest *xxhash.Digest
}

func (t *translator) decoder() *decoder { return &decoder{translator: t, digest: xxhash.New()} }

// translate makes an event, or a dead letter, of a message; false means that it
// is neither, because nobody wants it.
func (t *decoder) translate(i item) (e entry, passes bool) {
	if len(i.frames) != 2 {
		return deadLetterEntry(t.dead(i, fmt.Errorf("a hook event has two frames, this has %d", len(i.frames)))), true
	}
	text := string(i.frames[0])
	key, err := opennebula.ParseKey(text)
	if err != nil {
		return deadLetterEntry(t.dead(i, err)), true
	}
	if !t.filter.passes(key) {
		return entry{}, false
	}
	hook, err := t.events.Decode(text, key, i.frames[1])
	if err != nil {
		return deadLetterEntry(t.dead(i, err)), true
	}
	if isProbe(hook) {
		return entry{}, false
	}
	event := pipeline.Event{
		Version: pipeline.Version, Zone: t.zone, Object: hook.Object, ID: hook.ID, State: hook.State, LCMState: hook.LCMState,
		VM: hook.VM, Host: hook.Host, Call: hook.Call, OK: hook.OK, Ready: hook.Ready, Heard: i.heard,
	}
	return entryOf(event, hashOf(t.digest, i.frames), pipeline.Encode(&event)), true
}

func entryOf(event pipeline.Event, hash string, data []byte) entry {
	return entry{subject: subject(event), hash: hash, objectID: objectID{event.Object, event.ID}, data: data, heard: event.Heard}
}

// message gives an entry its message id: the hash says what happened, the
// number which time. Storing it again changes nothing, and the same thing
// happening again is stored.
func (e entry) message(epoch string, number uint64) feeds.Event {
	var space [80]byte
	id := append(append(append(append(space[:0], e.hash...), '-'), epoch...), '-')
	return feeds.Event{Subject: e.subject, MessageID: string(strconv.AppendUint(id, number, 10)), Data: e.data}
}

func subject(event pipeline.Event) string {
	switch event.Object {
	case "vm":
		return pipeline.VMSubject(event.Zone, event.ID, event.State, event.LCMState)
	case "api":
		return pipeline.CallSubject(event.Zone, event.Call, event.OK)
	}
	return pipeline.ObjectSubject(event.Zone, event.Object, event.ID, event.State)
}

// hashLength is that of a hash in hex.
const hashLength = 16

// hashOf is the frames' XXH64, in hex. It has to be the same in every bridge, and
// nobody gains by two equal ones: each event has a number as well.
func hashOf(digest *xxhash.Digest, frames [][]byte) string {
	digest.Reset()
	var space [hashLength]byte
	for _, frame := range frames {
		_, _ = digest.Write(append(strconv.AppendInt(space[:0], int64(len(frame)), 10), ':')) // never fails
		_, _ = digest.Write(frame)
	}
	return hex.EncodeToString(digest.Sum(space[:0]))
}

func (t *translator) dead(i item, reason error) *deadLetter {
	letter := &deadLetter{Endpoint: t.endpoint, Frames: len(i.frames), Heard: i.heard, reason: reason.Error()}
	if len(i.frames) > 0 {
		const longest = 120
		letter.Key = strings.ToValidUTF8(string(i.frames[0][:min(len(i.frames[0]), longest)]), "?")
	}
	if len(i.frames) > 1 {
		digest := sha256.Sum256(i.frames[1])
		letter.Bytes, letter.SHA256 = len(i.frames[1]), hex.EncodeToString(digest[:])
	}
	return letter
}

func (d *deadLetter) encode() []byte {
	text, err := json.Marshal(d)
	if err != nil {
		return []byte("{}") // plain fields: cannot happen
	}
	return text
}
