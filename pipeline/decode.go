package pipeline

import (
	"encoding/json"
	"fmt"

	"github.com/flowjet/flowjet/flow"
)

// unmarshalEvent is json.Unmarshal of an event. What has the form in which AppendEvent
// writes is read in one pass, in a fifth of the time: in a storm it is what the
// router does most.
func unmarshalEvent(data []byte) (Event, error) { return unmarshal(data, (*parser).event) }

// unmarshalWork is json.Unmarshal of work. An event, and trouble, as they are written
// here are read in one pass.
func unmarshalWork(data []byte) (Work, error) { return unmarshal(data, (*parser).work) }

// DecodeEvent reads an event of a schema version that is known here.
func DecodeEvent(data []byte) (Event, error) {
	event, err := unmarshalEvent(data)
	if err != nil {
		return Event{}, err
	}
	if event.Version < 1 || event.Version > Version {
		return Event{}, fmt.Errorf("schema version %d is not known here", event.Version)
	}
	return event, nil
}

// DecodeWork reads work of a schema version up to the one given. Of work that a newer Flowjet
// wrote only the service is known.
func DecodeWork(data []byte, schema int) (Work, error) {
	work, err := unmarshalWork(data)
	if err == nil && work.Version >= 1 && work.Version <= schema {
		return work, nil // read once
	}
	var head struct {
		Version int `json:"v"`
		Service int `json:"service"`
	}
	switch malformed := json.Unmarshal(data, &head); {
	case malformed != nil:
		return Work{}, malformed
	case head.Version < 1:
		return Work{}, fmt.Errorf("schema version %d is not known here", head.Version)
	case head.Version > schema:
		return Work{Version: head.Version, Service: head.Service, Newer: true}, nil
	}
	return Work{}, err
}

func unmarshal[T any](data []byte, inOnePass func(*parser) T) (T, error) {
	p := parser{rest: data}
	if value := inOnePass(&p); p.atEnd() {
		return value, nil
	}
	var value T
	err := json.Unmarshal(data, &value)
	return value, err
}

// parser reads JSON that has one form: no spaces, the fields in the order in which
// writer and encoding/json write them, no escapes. It fails at anything else, and then
// encoding/json is to be asked.
type parser struct {
	rest   []byte
	failed bool
}

// atEnd reports whether all was read and had the form.
func (p *parser) atEnd() bool { return !p.failed && len(p.rest) == 0 }

func (p *parser) event() (event Event) {
	event.Version = p.number(`{"v":`)
	event.Zone = p.number(`,"zone":`)
	event.Object = p.text(`,"object":`)
	event.ID = p.number(`,"id":`)
	event.State = p.optional(`,"state":`)
	event.LCMState = p.optional(`,"lcm_state":`)
	if p.next(`,"vm":`) {
		vm := p.vm()
		event.VM = &vm
	}
	event.Host = p.optional(`,"host":`)
	event.Call = p.optional(`,"call":`)
	event.OK = p.has(`,"ok":true`)
	if p.has(`,"ready":`) {
		ready := p.has("true")
		if !ready {
			p.must("false")
		}
		event.Ready = &ready
	}
	event.Resync = p.has(`,"resync":true`)
	if event.Heard.UnmarshalText([]byte(p.text(`,"heard":`))) != nil {
		p.failed = true
	}
	p.must("}")
	return event
}

func (p *parser) vm() (vm flow.VM) {
	vm.ID = p.number(`,"vm":{"id":`)
	vm.Name = p.optional(`,"name":`)
	vm.Owner.UID = p.number(`,"owner":{"uid":`)
	vm.Owner.GID = p.number(`,"gid":`)
	vm.Owner.UName = p.text(`,"uname":`)
	vm.Owner.GName = p.text(`,"gname":`)
	vm.State = flow.VMState(p.number(`},"state":`))
	vm.LCMState = flow.LCMState(p.number(`,"lcm_state":`))
	vm.Ready = p.has(`,"ready":true`)
	vm.Protected = p.has(`,"protected":true`)
	vm.Service = p.number(`,"service":`)
	vm.Role = p.optional(`,"role":`)
	vm.Key = p.optional(`,"key":`)
	p.must("}")
	return vm
}

// work reads what wakes a service without a command, a timer or measures.
func (p *parser) work() (work Work) {
	work.Version = p.number(`{"v":`)
	work.Service = p.number(`,"service":`)
	if p.has(`,"event":`) {
		event := p.event()
		work.Event = &event
	}
	if p.has(`,"trouble":[`) {
		work.Trouble = p.trouble()
	}
	work.Reason = p.optional(`,"reason":`)
	p.must("}")
	return work
}

func (p *parser) trouble() (all []Trouble) {
	for !p.failed {
		all = append(all, Trouble{
			VM: p.number(`{"vm":`), State: flow.VMState(p.number(`,"state":`)), LCMState: flow.LCMState(p.number(`,"lcm_state":`)),
		})
		p.must("}")
		if p.has("]") {
			break
		}
		p.must(",")
	}
	return all
}

// next reports whether a text comes next.
func (p *parser) next(text string) bool {
	return !p.failed && len(p.rest) >= len(text) && string(p.rest[:len(text)]) == text
}

// has is next, and passes over the text.
func (p *parser) has(text string) bool {
	if !p.next(text) {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

func (p *parser) must(text string) {
	if !p.has(text) {
		p.failed = true
	}
}

// longestNumber is how many digits fit into an int everywhere.
const longestNumber = 9

// number reads a whole number behind a text.
func (p *parser) number(before string) int {
	p.must(before)
	negative := p.has("-")
	number, digits := 0, 0
	for digits < len(p.rest) && digits <= longestNumber && p.rest[digits] >= '0' && p.rest[digits] <= '9' {
		number = 10*number + int(p.rest[digits]-'0')
		digits++
	}
	if p.failed || digits == 0 || digits > longestNumber || digits > 1 && p.rest[0] == '0' {
		p.failed = true
		return 0
	}
	p.rest = p.rest[digits:]
	if negative {
		return -number
	}
	return number
}

func (p *parser) optional(before string) string {
	if !p.next(before) {
		return ""
	}
	return p.text(before)
}

// text reads a string behind a text.
func (p *parser) text(before string) string {
	p.must(before)
	p.must(`"`)
	if p.failed {
		return ""
	}
	length := 0
	for length < len(p.rest) && plain(p.rest[length]) {
		length++
	}
	text := string(p.rest[:length])
	p.rest = p.rest[length:]
	p.must(`"`)
	return text
}

// plain reports whether a byte of a JSON string stands for itself.
func plain(b byte) bool { return b >= ' ' && b <= '~' && b != '"' && b != '\\' }
