package opennebula

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// RecoverRetry is the operation of RecoverVM that tries the failed step again.
const RecoverRetry = 2

// Filters of pool calls that are used here: whose objects, and in which state.
const (
	// FilterAll is all objects that the session may see.
	FilterAll = -2
	// StateAny is VMs in any state, DONE too.
	StateAny = -2
	// StateNotDone is VMs in any state but DONE.
	StateNotDone = -1
)

// vmXML is the part of a VM's XML that is read; oned sends the same shape in
// one.vm.info, one.vmpool.infoextended and hook events.
type vmXML struct {
	ownerXML
	State    int `xml:"STATE"`
	LCMState int `xml:"LCM_STATE"`
	// Hosts are those of the VM's stays, the last one last; LastHost is what skim
	// leaves of them.
	Hosts    []string `xml:"HISTORY_RECORDS>HISTORY>HOSTNAME"`
	LastHost string   `xml:"LAST_HOST"`
	User     struct {
		Ready   string `xml:"READY"`
		Service string `xml:"SERVICE_ID"`
		Role    string `xml:"ROLE_NAME"`
		Key     string `xml:"FLOWJET_KEY"`
		Protect string `xml:"FLOWJET_PROTECT"`
	} `xml:"USER_TEMPLATE"`
}

func (v vmXML) vm() flow.VM {
	service, err := strconv.Atoi(strings.TrimSpace(v.User.Service))
	if err != nil || service < 0 {
		service = -1
	}
	return flow.VM{
		ID: v.ID, Name: v.Name, Owner: v.identity(),
		State: flow.VMState(v.State), LCMState: flow.LCMState(v.LCMState),
		Ready: isYes(v.User.Ready), Protected: isYes(v.User.Protect), Service: service, Role: bounded(v.User.Role), Key: bounded(v.User.Key), Host: bounded(v.host()),
	}
}

// maxAttribute bounds what is kept of an attribute that a VM's owner writes: no role's
// name and no key of Flowjet's is as long, and every event and record holds them.
const maxAttribute = 256

// bounded returns text, or nothing for one that is too long to be what it should be.
func bounded(text string) string {
	if len(text) > maxAttribute {
		return ""
	}
	return text
}

func (v vmXML) host() string {
	if count := len(v.Hosts); count > 0 {
		return v.Hosts[count-1]
	}
	return v.LastHost
}

// VM reads a VM (one.vm.info).
func (s *Session) VM(ctx context.Context, id int) (flow.VM, error) {
	const method = "one.vm.info"
	return readAs(ctx, s, func(text []byte) (flow.VM, error) {
		var found vmXML
		if err := object(method, text, &found); err != nil {
			if vms := salvageVMs(string(text)); len(vms) == 1 && vms[0].ID == id {
				return vms[0].vm(), nil
			}
			return flow.VM{}, err
		}
		return found.vm(), nil
	}, method, id, false)
}

// VMs lists VMs with their whole user templates (one.vmpool.infoextended; the
// plain vmpool.info leaves SERVICE_ID out). Start and end are ids, -1 and -1
// for no bound; state is StateAny, StateNotDone or one of oned's.
func (s *Session) VMs(ctx context.Context, filter, start, end, state int) ([]flow.VM, error) {
	return readAs(ctx, s, readVMs, "one.vmpool.infoextended", filter, start, end, state, "")
}

func readVMs(text []byte) ([]flow.VM, error) {
	if vms, understood := scanVMs(text); understood {
		return vms, nil
	}
	var pool struct {
		VMs []vmXML `xml:"VM"`
	}
	if unmarshal(skim(text), &pool) != nil {
		pool.VMs = salvageVMs(string(text))
	}
	if len(pool.VMs) == 0 && !bytes.Contains(text, []byte("VM_POOL")) {
		return nil, unexpected("one.vmpool.infoextended", text)
	}
	vms := make([]flow.VM, len(pool.VMs))
	for i, found := range pool.VMs {
		vms[i] = found.vm()
	}
	return vms, nil
}

// salvageVMs reads a pool that is not well-formed one VM at a time, so that one
// user's strange template does not hide everybody's VMs. Of a broken VM the
// head, with its states, is read, and of its user template what comes before
// the break.
func salvageVMs(text string) []vmXML {
	const start = "<VM><ID>"
	var vms []vmXML
	for _, piece := range strings.Split(text, start)[1:] {
		found := vmXML{ownerXML: ownerXML{ID: -1}}
		// The decoder fills in what it reads until it fails.
		if err := unmarshal([]byte(start+piece), &found); err == nil || found.ID >= 0 {
			vms = append(vms, found)
		}
	}
	return vms
}

// ActOnVM asks for a life-cycle action: terminate, terminate-hard, poweroff,
// resume, release, ... (one.vm.action).
func (s *Session) ActOnVM(ctx context.Context, action string, id int) error {
	return s.do(ctx, "one.vm.action", action, id)
}

// RecoverVM gets a stuck or failed VM going; RecoverRetry is the usual
// operation (one.vm.recover).
func (s *Session) RecoverVM(ctx context.Context, id, operation int) error {
	return s.do(ctx, "one.vm.recover", id, operation)
}

// UpdateVM changes a VM's user template, by appending or by replacing the
// whole of it (one.vm.update).
func (s *Session) UpdateVM(ctx context.Context, id int, template string, appendTo bool) error {
	how := 0
	if appendTo {
		how = 1
	}
	return s.do(ctx, "one.vm.update", id, template, how)
}

// ChownVM changes a VM's user and group; -1 leaves one as it is (one.vm.chown).
func (s *Session) ChownVM(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vm.chown", id, uid, gid)
}
