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

// Wanted returns the names, in upper case, of the attributes to be read of a VM. Of
// the VM it gets the id, the owner, the service, the role and the key.
type Wanted func(vm one.VM) []string

// Samples reads the wanted attributes of running VMs. Spans are ascending
// ids, one call for each.
// A value is read from the first source that has it (the user template, the
// last monitoring, the template, the VM itself) and left out if it is no number.
//
// However many services there are, it makes one call of one.vmpool.monitoring and one of
// one.vmpool.infoextended for each span, or more if users have made their VMs so large that
// an answer exceeds the limit. A VM that exceeds it alone is left out.
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
		err = s.eachVM(ctx, spans[0], func(id int, element []byte) {
			if sample := sampleOf(id, element, wanted, monitored[id]); sample != nil {
				samples[id] = sample
			}
		})
	}
	if err != nil {
		return nil, err
	}
	return samples, nil
}

// eachVM reads VMs of ascending ids that have not ended, and leaves out a VM that alone exceeds the largest answer.
func (s vmCalls) eachVM(ctx context.Context, span []int, visit func(id int, element []byte)) error {
	return inParts(span, func(ids []int) error {
		err := s.each(ctx, "VM", func(id int, element []byte) {
			if _, asked := slices.BinarySearch(ids, id); asked {
				visit(id, element)
			}
		}, "one.vmpool.infoextended", FilterAll, ids[0], ids[len(ids)-1], StateNotDone, "")
		if len(ids) == 1 && errors.Is(err, ErrTooLarge) {
			return nil
		}
		return err
	})
}

// sampleOf reads one VM's element; nil if the VM does not run, or no attribute of it is wanted.
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
		add := func(from one.Template, path ...string) bool {
			text, _ := from.Lookup(path...)
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			has := err == nil && !math.IsInf(value, 0) && !math.IsNaN(value)
			if has {
				sample[name] = value
			}
			return has
		}
		_ = add(tree, "USER_TEMPLATE", name) || add(monitoring, name) || add(tree, "TEMPLATE", name) || add(tree, name)
	}
	return sample
}

// each makes a call whose answer is a pool, and visits its elements of the name, as they are written.
func (c *caller) each(ctx context.Context, name string, visit func(id int, element []byte), method string, arguments ...any) error {
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
			visit(id, element)
		}, name)
		return struct{}{}, nil
	}, method, arguments...)
	return err
}

// VMDetails are the details of a VM that users want.
type VMDetails struct {
	one.VM
	// Started is when the VM was created.
	Started time.Time
	// IPs are the addresses of its interfaces, and Error is USER_TEMPLATE/ERROR.
	IPs   []string
	Error string
}

// Details reads those of the VMs that the user may see and that have not ended, with one
// call of one.vmpool.infoextended for ids that are close together. If an answer is too
// large it makes more calls, and leaves out a VM that is too large alone.
func (s vmCalls) Details(ctx context.Context, ids []int) (map[int]VMDetails, error) {
	found := map[int]VMDetails{}
	for _, span := range Spans(slices.Compact(slices.Sorted(slices.Values(ids)))) {
		err := s.eachVM(ctx, span, func(id int, element []byte) {
			var vm VMDetails
			for _, read := range []func(*onexml.Reader){func(r *onexml.Reader) { vm.VM = readVM(r) }, vm.read} {
				r := onexml.New(element)
				r.Root()
				read(r) // a later break does not hide the rest
			}
			found[id] = vm
		})
		if err != nil {
			return nil, err
		}
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

// maxFetched bounds how many VMs of a service are fetched for an explanation.
const maxFetched = 1000

// Refresh fetches the state with the networks, and the facts with the VMs, that decide what
// the service waits for, as the zone's leader shows them now.
func (s *Session) Refresh(ctx context.Context, state flow.State) (flow.State, flow.Facts, error) {
	leader, wanted := s.Confirmed(), state.Doubtful()
	facts, err := leader.FetchVMs(ctx, state.Service, wanted[:min(len(wanted), maxFetched)])
	if err != nil {
		return state, nil, err
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
			return state, nil, fmt.Errorf("read network %d of service %d: %w", network.ID, state.Service.ID, err)
		}
		state = flow.IngestNetwork(state, network.Name, network.ID, found.State)
	}
	return state, facts, nil
}
