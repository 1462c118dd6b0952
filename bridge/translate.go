package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// translator makes events of what was heard.
type translator struct {
	zone    int
	objects []string
	calls   []string
	// epoch tells this process's numbers from another's.
	epoch string
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

// translate makes an event of an item. Both results are nil for what is not
// passed on.
func (t *translator) translate(i item) (*pipeline.FeedEvent, *deadLetter) {
	if i.found != nil {
		return t.fromFound(i), nil
	}
	if len(i.frames) != 2 {
		return nil, dead(i, fmt.Errorf("a hook event has two frames, this has %d", len(i.frames)))
	}
	key, err := opennebula.ParseKey(string(i.frames[0]))
	if err != nil {
		return nil, dead(i, err)
	}
	if !t.passes(key) {
		return nil, nil
	}
	hook, err := opennebula.DecodeEvent(string(i.frames[0]), i.frames[1])
	if err != nil {
		return nil, dead(i, err)
	}
	event := pipeline.Event{
		Version: pipeline.Version, Zone: t.zone, Object: hook.Object, ID: hook.ID, State: hook.State, LCMState: hook.LCMState,
		VM: hook.VM, Host: hook.Host, Call: hook.Call, OK: hook.OK, Ready: hook.Ready, Heard: i.heard,
	}
	return t.feedEvent(event, hashOf(i.frames), i.number), nil
}

func (t *translator) passes(key opennebula.HookKey) bool {
	switch key.Kind {
	case opennebula.KeyState:
		return slices.Contains(t.objects, key.Object)
	case opennebula.KeyAPI:
		return slices.Contains(t.calls, key.Call)
	}
	return false // another form of the same event
}

func (t *translator) fromFound(i item) *pipeline.FeedEvent {
	text := pipeline.Encode(i.found)
	return t.feedEvent(*i.found, hashOf([][]byte{[]byte("resync"), text}), i.number)
}

// feedEvent gives an event its subject and its message id: the hash says what
// happened, the number which time. Storing it again changes nothing, and the
// same thing happening again is stored.
func (t *translator) feedEvent(event pipeline.Event, hash string, number uint64) *pipeline.FeedEvent {
	return &pipeline.FeedEvent{
		Subject:   subject(event),
		MessageID: fmt.Sprintf("%s-%s-%d", hash[:16], t.epoch, number),
		Hash:      hash,
		Event:     event,
	}
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

// hashOf is the first half of the frames' SHA-256, in hex.
func hashOf(frames [][]byte) string {
	digest := sha256.New()
	for _, frame := range frames {
		fmt.Fprintf(digest, "%d:", len(frame))
		digest.Write(frame)
	}
	return hex.EncodeToString(digest.Sum(nil)[:16])
}

func dead(i item, reason error) *deadLetter {
	letter := &deadLetter{Frames: len(i.frames), Heard: i.heard, reason: reason.Error()}
	if i.from != nil {
		letter.Endpoint = i.from.endpoint
	}
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
