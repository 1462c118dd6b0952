package opennebula

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Wanted returns the names, in upper case, of the attributes that are to be read of a VM. Of
// the VM it gets the id, and whose it is and what for.
type Wanted func(vm one.VM) []string

// Samples reads attributes of VMs that run, as far as they are wanted. Spans are ascending
// ids that one call is to cover each.
// A value is taken from the first place that has it (the user template, the
// last monitoring, the template, the VM itself) and left out if it is no number.
//
// However many services there are, it makes one call of one.vmpool.monitoring and one of
// one.vmpool.infoextended for each span, or more where users have made their VMs so large that
// that is more than is read. A VM that is so by itself is left out.
func (s vmCalls) Samples(ctx context.Context, spans [][]int, wanted Wanted) (map[int]policy.Sample, error) {
	const lastOnly = 0
	asked := map[int]bool{}
	for _, span := range spans {
		for _, id := range span {
			asked[id] = true
		}
	}
	monitored, samples := map[int]one.Template{}, map[int]policy.Sample{}
	err := s.each(ctx, "MONITORING", func(id int, element []byte) {
		if !asked[id] {
			return
		}
		if tree, err := readTree(element); err == nil {
			monitored[id] = tree // of several of one VM the last one counts
		}
	}, "one.vmpool.monitoring", FilterAll, lastOnly)
	for ; err == nil && len(spans) > 0; spans = spans[1:] {
		span := spans[0]
		err = s.each(ctx, "VM", func(id int, element []byte) {
			if !asked[id] {
				return
			}
			if sample := sampleOf(id, element, wanted, monitored[id]); sample != nil {
				samples[id] = sample
			}
		}, "one.vmpool.infoextended", FilterAll, span[0], span[len(span)-1], StateNotDone, "")
		if errors.Is(err, ErrTooLarge) {
			if half := len(span) / 2; half > 0 { // else the VM is so large: it is left out
				spans = append(spans, span[:half], span[half:])
			}
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return samples, nil
}

// sampleOf reads one VM's element; nil if the VM does not run, or nothing of it is wanted.
func sampleOf(id int, element []byte, wanted Wanted, monitoring one.Template) policy.Sample {
	tree, err := readTree(element)
	text := func(path ...string) string {
		value, _ := tree.Lookup(path...)
		return value
	}
	if err != nil || text("STATE") != "3" || text("LCM_STATE") != "3" {
		return nil
	}
	names := wanted(one.VM{
		ID: id, Owner: one.Identity{UID: idOrNone(text("UID"))}, Service: idOrNone(text("USER_TEMPLATE", "SERVICE_ID")),
		Role: bounded(text("USER_TEMPLATE", "ROLE_NAME")), Key: bounded(text("USER_TEMPLATE", "FLOWJET_KEY")),
	})
	if names == nil {
		return nil
	}
	sample := policy.Sample{}
	for _, name := range names {
		take := func(from one.Template, path ...string) bool {
			text, _ := from.Lookup(path...)
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			has := err == nil && !math.IsInf(value, 0) && !math.IsNaN(value)
			if has {
				sample[name] = value
			}
			return has
		}
		_ = take(tree, "USER_TEMPLATE", name) || take(monitoring, name) || take(tree, "TEMPLATE", name) || take(tree, name)
	}
	return sample
}

// each makes a call whose answer is a pool, and hands over its elements of the name, as they are written.
func (c *caller) each(ctx context.Context, name string, take func(id int, element []byte), method string, arguments ...any) error {
	_, err := readAs(ctx, c, func(text []byte) (struct{}, error) {
		r := onexml.New(text)
		r.Root()
		r.At(func() {
			id, element := -1, r.Element()
			inner := onexml.New(element)
			inner.Root()
			inner.At(func() {
				if id < 0 {
					id = idOrNone(inner.String())
				}
			}, "ID")
			take(id, element)
		}, name)
		return struct{}{}, nil
	}, method, arguments...)
	return err
}

// VMDetails is what people want to know of a VM.
type VMDetails struct {
	one.VM
	// Started is when the VM was created.
	Started time.Time
	// IPs are the addresses of its interfaces, and Error is USER_TEMPLATE/ERROR.
	IPs   []string
	Error string
}

// spanGap is the widest gap between two ids that one call covers: a call costs about as
// much as so many VMs that nobody asked for.
const spanGap = 50

// Details reads those of the VMs that the user may see and that have not ended, with one
// call of one.vmpool.infoextended for ids that are close together. Where that is more than is
// read it makes more calls, and leaves out a VM that is so large by itself.
func (s vmCalls) Details(ctx context.Context, ids []int) (map[int]VMDetails, error) {
	found := map[int]VMDetails{}
	wanted := slices.Compact(slices.Sorted(slices.Values(ids)))
	for most := len(wanted); len(wanted) > 0; {
		end := 1
		for end < min(most, len(wanted)) && wanted[end]-wanted[end-1] <= spanGap {
			end++
		}
		err := s.each(ctx, "VM", func(id int, element []byte) {
			if _, asked := slices.BinarySearch(wanted[:end], id); !asked {
				return
			}
			vm := VMDetails{VM: one.VM{Service: -1}}
			for _, read := range []func(*onexml.Reader){func(r *onexml.Reader) { readVMInto(r, &vm.VM) }, vm.read} {
				r := onexml.New(element)
				r.Root()
				read(r) // what is broken further down does not hide the rest
			}
			found[id] = vm
		}, "one.vmpool.infoextended", FilterAll, wanted[0], wanted[end-1], StateNotDone, "")
		if large := errors.Is(err, ErrTooLarge); large && end > 1 {
			most = end / 2
			continue
		} else if err != nil && !large {
			return nil, err
		}
		wanted = wanted[end:]
	}
	return found, nil
}

func (v *VMDetails) read(r *onexml.Reader) {
	addIP := func() {
		if address := bounded(r.String()); address != "" && !slices.Contains(v.IPs, address) {
			v.IPs = append(v.IPs, address)
		}
	}
	r.Fields(onexml.Fields{
		"STIME":         func() { v.Started = time.Unix(int64(r.Int()), 0).UTC() },
		"USER_TEMPLATE": func() { r.At(func() { v.Error = bounded(r.String()) }, "ERROR") },
		"TEMPLATE": func() {
			r.At(func() { r.Fields(onexml.Fields{"IP": addIP, "IP6_GLOBAL": addIP, "IP6": addIP, "EXTERNAL_IP": addIP}) }, "NIC")
		},
	})
}

const (
	// rangeGap is how many foreign VMs between two that are wanted make one call for both
	// dearer than two calls.
	rangeGap = 16
	// maxLookedAt bounds how many VMs of a service are looked at for an explanation.
	maxLookedAt = 1000
)

// Look returns the state with the networks, and the facts with the VMs, that decide what
// the service waits for, as the zone's leader shows them now.
func (s *Session) Look(ctx context.Context, state flow.State) (flow.State, flow.Facts, error) {
	leader, service := s.Confirmed(), state.Service.ID
	facts := flow.Facts{}
	wanted := state.Doubtful()
	for _, span := range Spans(wanted[:min(len(wanted), maxLookedAt)]) {
		vms, err := leader.VMsAt(ctx, span, StateNotDone)
		if err != nil {
			return state, nil, fmt.Errorf("read the VMs of service %d: %w", service, err)
		}
		for _, id := range span {
			facts[id] = one.VM{ID: id, State: one.VMDone, Service: service}
		}
		for _, vm := range vms {
			if _, wanted := slices.BinarySearch(span, vm.ID); wanted {
				facts[vm.ID] = vm
			}
		}
	}
	watched := flow.WatchesNetworks(state)
	for _, network := range state.Networks {
		if !watched || network.ID < 0 {
			continue
		}
		found, err := leader.Network(ctx, network.ID)
		if IsCode(err, CodeNoExists) {
			found, err = Network{State: one.NetworkDone}, nil
		}
		if err != nil {
			return state, nil, fmt.Errorf("read network %d of service %d: %w", network.ID, service, err)
		}
		state = flow.SeeNetwork(state, network.Name, network.ID, found.State)
	}
	return state, facts, nil
}

// Spans cuts ascending VM ids where the gap between two is so wide that a call for each side
// is cheaper than one for both.
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
