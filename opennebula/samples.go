package opennebula

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	monitored, err := readAs(ctx, s.caller, func(text []byte) (map[int]one.Template, error) {
		figures := map[int]one.Template{}
		eachElement(text, "MONITORING", func(element []byte) {
			id := idOf(element)
			if !asked[id] {
				return
			}
			if tree, err := readTree(element); err == nil {
				figures[id] = tree // of several of one VM the last one counts
			}
		})
		return figures, nil
	}, "one.vmpool.monitoring", FilterAll, lastOnly)
	if err != nil {
		return nil, err
	}
	samples := map[int]policy.Sample{}
	for len(spans) > 0 {
		span := spans[0]
		spans = spans[1:]
		found, err := readAs(ctx, s.caller, func(text []byte) (map[int]policy.Sample, error) {
			found := map[int]policy.Sample{}
			eachElement(text, "VM", func(element []byte) {
				id := idOf(element)
				if !asked[id] {
					return
				}
				if sample := sampleOf(id, element, wanted, monitored[id]); sample != nil {
					found[id] = sample
				}
			})
			return found, nil
		}, "one.vmpool.infoextended", FilterAll, span[0], span[len(span)-1], StateNotDone, "")
		if half := len(span) / 2; errors.Is(err, ErrTooLarge) {
			if half > 0 { // else the VM is so large: it is left out
				spans = append(spans, span[:half], span[half:])
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(samples, found)
	}
	return samples, nil
}

// sampleOf reads one VM's element; nil if the VM does not run, or nothing of it is wanted.
func sampleOf(id int, element []byte, wanted Wanted, monitoring one.Template) policy.Sample {
	tree, err := readTree(element)
	if err != nil || plain(tree, "STATE") != "3" || plain(tree, "LCM_STATE") != "3" {
		return nil
	}
	user := inside(tree, "USER_TEMPLATE")
	names := wanted(one.VM{
		ID: id, Owner: one.Identity{UID: idOrNone(plain(tree, "UID"))}, Service: idOrNone(plain(user, "SERVICE_ID")),
		Role: bounded(plain(user, "ROLE_NAME")), Key: bounded(plain(user, "FLOWJET_KEY")),
	})
	if names == nil {
		return nil
	}
	sample := policy.Sample{}
	for _, name := range names {
		for _, place := range []one.Template{user, monitoring, inside(tree, "TEMPLATE"), tree} {
			if value, has := numberIn(place, name); has {
				sample[name] = value
				break
			}
		}
	}
	return sample
}

// eachElement hands over the elements of a pool that have the name, as they are
// written.
func eachElement(text []byte, name string, take func(element []byte)) {
	r := onexml.New(text)
	r.Root()
	r.At(func() { take(r.Element()) }, name)
}

func idOf(element []byte) int {
	id := -1
	r := onexml.New(element)
	r.Root()
	r.At(func() {
		if id < 0 {
			id = idOrNone(r.String())
		}
	}, "ID")
	return id
}

func plain(tree one.Template, name string) string {
	for _, attribute := range tree {
		if attribute.Name == name && attribute.Vector == nil {
			return attribute.Value
		}
	}
	return ""
}

func inside(tree one.Template, name string) one.Template {
	for _, attribute := range tree {
		if attribute.Name == name {
			return attribute.Vector
		}
	}
	return nil
}

func numberIn(tree one.Template, name string) (float64, bool) {
	for _, attribute := range tree {
		if !strings.EqualFold(attribute.Name, name) || attribute.Vector != nil {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(attribute.Value), 64)
		return value, err == nil && !math.IsInf(value, 0) && !math.IsNaN(value)
	}
	return 0, false
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
		_, err := readAs(ctx, s.caller, func(text []byte) (struct{}, error) {
			eachElement(text, "VM", func(element []byte) {
				if _, asked := slices.BinarySearch(wanted[:end], idOf(element)); !asked {
					return
				}
				vm := VMDetails{VM: one.VM{Service: -1}}
				r := onexml.New(element)
				r.Root()
				readVMInto(r, &vm.VM) // what is broken further down does not hide the rest
				r = onexml.New(element)
				r.Root()
				vm.read(r)
				found[idOf(element)] = vm
			})
			return struct{}{}, nil
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
	r.Each(func(name []byte) {
		switch string(name) {
		case "STIME":
			v.Started = time.Unix(int64(r.Int()), 0).UTC()
		case "TEMPLATE":
			r.At(func() {
				r.Each(func(name []byte) {
					switch string(name) {
					case "IP", "IP6_GLOBAL", "IP6", "EXTERNAL_IP":
						if address := bounded(r.String()); address != "" && !slices.Contains(v.IPs, address) {
							v.IPs = append(v.IPs, address)
						}
					}
				})
			}, "NIC")
		case "USER_TEMPLATE":
			r.At(func() { v.Error = bounded(r.String()) }, "ERROR")
		}
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
	leader := s.Confirmed()
	facts := flow.Facts{}
	wanted := state.Doubtful()
	for _, span := range Spans(wanted[:min(len(wanted), maxLookedAt)]) {
		vms, err := leader.VMsAt(ctx, span, StateNotDone)
		if err != nil {
			return state, nil, fmt.Errorf("read the VMs of service %d: %w", state.Service.ID, err)
		}
		for _, id := range span {
			facts[id] = one.VM{ID: id, State: one.VMDone, Service: state.Service.ID}
		}
		for _, vm := range vms {
			if _, wanted := slices.BinarySearch(span, vm.ID); wanted {
				facts[vm.ID] = vm
			}
		}
	}
	if !flow.WatchesNetworks(state) {
		return state, facts, nil
	}
	for _, network := range state.Networks {
		if network.ID < 0 {
			continue
		}
		found, err := leader.Network(ctx, network.ID)
		if IsCode(err, CodeNoExists) {
			found, err = Network{State: one.NetworkDone}, nil
		}
		if err != nil {
			return state, nil, fmt.Errorf("read network %d of service %d: %w", network.ID, state.Service.ID, err)
		}
		state = flow.SeeNetwork(state, network.Name, network.ID, found.State)
	}
	return state, facts, nil
}

// Spans cuts ascending VM ids where the gap between two is so wide that a call for each side
// is cheaper than one for both.
func Spans(ids []int) [][]int {
	var out [][]int
	for _, id := range ids {
		last := len(out) - 1
		if last >= 0 && id-out[last][len(out[last])-1] <= rangeGap {
			out[last] = append(out[last], id)
			continue
		}
		out = append(out, []int{id})
	}
	return out
}
