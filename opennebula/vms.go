package opennebula

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// RecoverRetry is the operation of RecoverVM that retries the failed step.
const RecoverRetry = 2

// The filters of pool calls that are used here, by owner and by state.
const (
	// FilterAll is all objects that the session may see.
	FilterAll = -2
	// StateAny is VMs in any state, DONE too.
	StateAny = -2
	// StateNotDone is VMs in any state but DONE.
	StateNotDone = -1
)

// readVM reads a VM; oned sends the same in one.vm.info, one.vmpool.infoextended
// and hook events. Of a broken one it returns the part before the break.
func readVM(r *onexml.Reader) one.VM {
	vm := one.VM{ID: -1, Service: -1}
	r.Each(func(name []byte) { // not by Fields: a pool has tens of thousands of VMs
		switch string(name) {
		case "ID":
			vm.ID = r.Int()
		case "NAME":
			vm.Name = r.String()
		case "STATE":
			vm.State = one.VMState(r.Int())
		case "LCM_STATE":
			vm.LCMState = one.LCMState(r.Int())
		case "HISTORY_RECORDS":
			vm.Host = bounded(lastHost(r.Inner()))
		case "USER_TEMPLATE":
			r.Each(func(name []byte) {
				switch string(name) {
				case "READY":
					vm.Ready = isYes(r.String())
				case "SERVICE_ID":
					vm.Service = idOrNone(r.String())
				case "ROLE_NAME":
					vm.Role = bounded(r.String())
				case "FLOWJET_KEY":
					vm.Key = bounded(r.String())
				case "FLOWJET_PROTECT":
					vm.Protected = isYes(r.String())
				}
			})
		default:
			readOwner(r, name, &vm.Owner)
		}
	})
	return vm
}

// lastHost returns the last host in a VM's history. The rest of the history is not read.
func lastHost(history []byte) string {
	tag, from := []byte("<HOSTNAME>"), -1
	for next := bytes.Index(history, tag); next >= 0; next = bytes.Index(history[from+1:], tag) { // bytes.LastIndex takes far longer
		from += 1 + next
	}
	if from < 0 {
		return ""
	}
	r := onexml.New(history[from:])
	r.Root()
	return r.String()
}

// maxAttribute bounds the kept size of an attribute that a VM's owner writes: no role's
// name and no key of Flowjet's is as long, and every event and record holds them.
const maxAttribute = 256

// bounded returns text, or an empty one if it is too long to be valid.
func bounded(text string) string {
	if len(text) > maxAttribute {
		return ""
	}
	return text
}

// VM reads a VM (one.vm.info).
func (s vmCalls) VM(ctx context.Context, id int) (one.VM, error) {
	const method = "one.vm.info"
	return readAs(ctx, s.caller, func(text []byte) (one.VM, error) {
		vm, err := readObject(method, text, readVM)
		if err != nil {
			if vms := salvageVMs(text); len(vms) == 1 && vms[0].ID == id {
				return vms[0], nil
			}
		}
		return vm, err
	}, method, id, false)
}

// VMTree reads the whole of a VM as one.vm.info sends it: its attributes, with
// TEMPLATE and USER_TEMPLATE among them. Unreadable XML does not justify
// another call: it is no TransportError.
func (s vmCalls) VMTree(ctx context.Context, id int) (one.Template, error) {
	return readAs(ctx, s.caller, func(text []byte) (tree one.Template, err error) {
		defer errs.Wrap(&err, "read VM %d", id)
		return readTree(text)
	}, "one.vm.info", id, false)
}

// VMs lists VMs with their whole user templates (one.vmpool.infoextended; the
// plain vmpool.info leaves SERVICE_ID out). Start and end are ids, -1 and -1
// for no bound; state is StateAny, StateNotDone or one of oned's.
func (s vmCalls) VMs(ctx context.Context, filter, start, end, state int) ([]one.VM, error) {
	const method = "one.vmpool.infoextended"
	return readAs(ctx, s.caller, func(text []byte) ([]one.VM, error) {
		if !bytes.Contains(text, []byte("VM_POOL")) {
			return nil, unexpected(method, text)
		}
		if vms, err := readPool(method, text, "VM", readVM); err == nil {
			return vms, nil
		}
		return salvageVMs(text), nil
	}, method, filter, start, end, state, "")
}

// salvageVMs reads a pool that is not well-formed one VM at a time, so that one
// user's strange template does not hide everybody's VMs. Of a broken VM it reads the
// head, with its states, and the part of its user template before
// the break.
func salvageVMs(text []byte) []one.VM {
	const start = "<VM><ID>"
	vms := []one.VM{}
	for _, piece := range strings.Split(string(text), start)[1:] {
		r := onexml.New([]byte(start + piece))
		r.Root()
		if vm := readVM(r); r.Err() == nil || vm.ID >= 0 {
			vms = append(vms, vm)
		}
	}
	return vms
}

// rangeGap is the number of other VMs between two wanted ones from which one call for both
// costs more than two calls.
const rangeGap = 16

// Spans splits ascending VM ids at every gap that is so wide that two calls
// cost less than one.
func Spans(ids []int) [][]int {
	var out [][]int
	for i, id := range ids {
		if i == 0 || id-ids[i-1] > rangeGap {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], id)
	}
	return out
}

// inParts asks for ascending ids. If the answer is too large, which other users' objects in between can
// cause, it asks for fewer at a time.
func inParts(ids []int, ask func(ids []int) error) error {
	err, half := ask(ids), len(ids)/2
	if half == 0 || !errors.Is(err, ErrTooLarge) {
		return err
	}
	if err := inParts(ids[:half], ask); err != nil {
		return err
	}
	return inParts(ids[half:], ask)
}

// FetchVMs reads a service's VMs, of ascending ids, and others of the service among them. A VM that oned does not have is DONE. An ended VM
// stays at oned until it is purged: if the service has made it, it is gone only if the zone's leader says so.
func (s *Session) FetchVMs(ctx context.Context, service spec.Service, ids []int) (flow.Facts, error) {
	facts := flow.Facts{}
	for _, span := range Spans(ids) {
		listed := len(span) > 1
		if listed {
			err := inParts(span, func(part []int) error {
				vms, err := s.VMs(ctx, FilterAll, part[0], part[len(part)-1], StateAny)
				for _, vm := range vms {
					if _, wanted := slices.BinarySearch(ids, vm.ID); wanted || vm.Service == service.ID {
						facts[vm.ID] = vm
					}
				}
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("read VMs %d to %d of service %d: %w", span[0], span[len(span)-1], service.ID, err)
			}
		}
		for _, id := range span {
			if _, known := facts[id]; known {
				continue
			}
			if facts[id] = (one.VM{ID: id, State: one.VMDone, Service: service.ID}); listed && !service.Made.Has(id) {
				continue
			}
			vm, err := s.VM(ctx, id)
			if IsCode(err, CodeNoExists) && service.Made.Has(id) {
				vm, err = s.Confirmed().VM(ctx, id)
			}
			switch {
			case err == nil:
				facts[id] = vm
			case !IsCode(err, CodeNoExists):
				return nil, fmt.Errorf("read VM %d of service %d: %w", id, service.ID, err)
			}
		}
	}
	return facts, nil
}

// newestTwo is an end that asks for a page of the newest two: to oned an end below -1 is a page's size.
const newestTwo = -2

// NewestVM returns the highest id of a VM, DONE ones included; -1 without one.
func NewestVM(ctx context.Context, oned interface {
	VMs(ctx context.Context, filter, start, end, state int) ([]one.VM, error)
}) (int, error) {
	vms, err := oned.VMs(ctx, FilterAll, 0, newestTwo, StateAny)
	if err != nil {
		return 0, fmt.Errorf("read the id of the newest VM: %w", err)
	}
	newest := -1
	for _, vm := range vms {
		newest = max(newest, vm.ID)
	}
	return newest, nil
}

// ActOnVM requests a life-cycle action: terminate, terminate-hard, poweroff,
// resume, release, ... (one.vm.action).
func (s vmCalls) ActOnVM(ctx context.Context, action string, id int) error {
	return s.do(ctx, "one.vm.action", action, id)
}

// RecoverVM recovers a stuck or failed VM; RecoverRetry is the usual
// operation (one.vm.recover).
func (s vmCalls) RecoverVM(ctx context.Context, id, operation int) error {
	return s.do(ctx, "one.vm.recover", id, operation)
}

// UpdateVM changes a VM's user template, by appending or by replacing the
// whole of it (one.vm.update).
func (s vmCalls) UpdateVM(ctx context.Context, id int, template string, appendTo bool) error {
	how := 0
	if appendTo {
		how = 1
	}
	return s.do(ctx, "one.vm.update", id, template, how)
}

// ChownVM changes a VM's user and group; -1 leaves one as it is (one.vm.chown).
func (s vmCalls) ChownVM(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vm.chown", id, uid, gid)
}

// VMTemplate is a template that VMs are made from.
type VMTemplate struct {
	ID   int
	Name string
	// Template is the XML inside TEMPLATE, as oned sent it.
	Template []byte
}

// VMTemplate reads a VM template (one.template.info).
func (s vmCalls) VMTemplate(ctx context.Context, id int) (VMTemplate, error) {
	return object(ctx, s.caller, func(r *onexml.Reader) (t VMTemplate) {
		r.Fields(onexml.Fields{"ID": &t.ID, "NAME": &t.Name, "TEMPLATE": func() { t.Template = bytes.Clone(r.Inner()) }})
		return t
	}, "one.template.info", id, false, false)
}

// InstantiateTemplate makes a VM and returns its id (one.template.instantiate).
// Extra is template text that is merged into the VM's; hold makes it wait in
// HOLD instead of PENDING.
func (s vmCalls) InstantiateTemplate(ctx context.Context, id int, name string, hold bool, extra string) (int, error) {
	const persistent = false
	return s.callID(ctx, "one.template.instantiate", id, name, hold, extra, persistent)
}

// PoolEntry is an object in a list.
type PoolEntry struct {
	ID   int
	Name string
	// Registered is when a VM template was created, by oned's clock, in whole seconds.
	Registered time.Time
}

func readEntry(r *onexml.Reader) (e PoolEntry) {
	r.Fields(onexml.Fields{"ID": &e.ID, "NAME": &e.Name, "REGTIME": func() { e.Registered = time.Unix(int64(r.Int()), 0) }})
	return e
}

// VMTemplates lists VM templates (one.templatepool.info). Filter is as for
// Documents.
func (s vmCalls) VMTemplates(ctx context.Context, filter int) ([]PoolEntry, error) {
	return pool(ctx, s.caller, "VMTEMPLATE", readEntry, "one.templatepool.info", filter, -1, -1)
}

// CloneVMTemplate copies a VM template under a new name and returns the copy's
// id (one.template.clone). With images its images are copied too.
func (s vmCalls) CloneVMTemplate(ctx context.Context, id int, name string, images bool) (int, error) {
	return s.callID(ctx, "one.template.clone", id, name, images)
}

// DeleteVMTemplate removes a VM template (one.template.delete), with images
// also its images.
func (s vmCalls) DeleteVMTemplate(ctx context.Context, id int, images bool) error {
	return s.do(ctx, "one.template.delete", id, images)
}

// Tree returns the VM template's attributes.
func (t VMTemplate) Tree() (tree one.Template, err error) {
	defer errs.Wrap(&err, "read VM template %d", t.ID)
	return readTree([]byte("<TEMPLATE>" + string(t.Template) + "</TEMPLATE>"))
}

func readTree(text []byte) (one.Template, error) {
	r := onexml.New(text)
	r.Root()
	tree, _ := readInside(r)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read the object's XML: %w", err)
	}
	return tree, nil
}

// readInside reads the current element: the elements in it, nil for
// none, and the text.
func readInside(r *onexml.Reader) (tree one.Template, text string) {
	text = r.Content(func(name []byte) {
		attribute := one.Attribute{Name: string(name)}
		if attribute.Vector, attribute.Value = readInside(r); attribute.Vector != nil {
			attribute.Value = ""
		}
		tree = append(tree, attribute)
	})
	return tree, text
}

// ScheduleAction schedules an action on a VM at a time (one.vm.schedadd), and
// returns the scheduled action's id. Args belongs to the action, such as a
// snapshot's name; empty for none.
func (s vmCalls) ScheduleAction(ctx context.Context, vm int, action, args string, at time.Time) (int, error) {
	text := fmt.Sprintf("SCHED_ACTION = [ACTION = %s,TIME = %d", action, at.Unix())
	if args != "" {
		text += fmt.Sprintf(`,ARGS = "%s"`, quoteTemplate.Replace(args))
	}
	return s.callID(ctx, "one.vm.schedadd", vm, text+"]")
}

// quoteTemplate escapes a text for the quotes of template text.
var quoteTemplate = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// UnscheduleAction removes a scheduled action (one.vm.scheddelete).
func (s vmCalls) UnscheduleAction(ctx context.Context, vm, action int) error {
	return s.do(ctx, "one.vm.scheddelete", vm, action)
}

// ScheduledAction is an action on a VM at a time, past or future.
type ScheduledAction struct {
	ID     int
	Action string
	Args   string
	// Time is in unix seconds.
	Time int64
}

// ScheduledActions lists a VM's scheduled actions, including those already carried
// out (one.vm.info).
func (s vmCalls) ScheduledActions(ctx context.Context, vm int) ([]ScheduledAction, error) {
	return object(ctx, s.caller, func(r *onexml.Reader) (actions []ScheduledAction) {
		r.At(func() {
			var a ScheduledAction
			r.Fields(onexml.Fields{"ID": &a.ID, "ACTION": &a.Action, "ARGS": &a.Args, "TIME": func() { a.Time = int64(r.Int()) }})
			actions = append(actions, a)
		}, "TEMPLATE", "SCHED_ACTION")
		return actions
	}, "one.vm.info", vm, false)
}
