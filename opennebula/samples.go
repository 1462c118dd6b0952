package opennebula

import (
	"context"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Samples reads attributes of VMs that run: of each VM in wanted those named
// there, in upper case. Spans are ascending ids that one call is to cover each.
// A value is taken from the first place that has it (the user template, the
// last monitoring, the template, the VM itself) and left out if it is no number.
//
// However many services there are, it makes one call of one.vmpool.monitoring
// and one of one.vmpool.infoextended for each span.
// VMs says whose each of them is.
func (s vmCalls) Samples(ctx context.Context, spans [][]int, wanted map[int][]string) (samples map[int]flow.Sample, vms map[int]flow.VM, err error) {
	const lastOnly = 0
	monitored, err := readAs(ctx, s.caller, func(text []byte) (map[int]flow.Template, error) {
		return monitoringOf(text, wanted), nil
	}, "one.vmpool.monitoring", FilterAll, lastOnly)
	if err != nil {
		return nil, nil, err
	}
	samples, vms = map[int]flow.Sample{}, map[int]flow.VM{}
	for _, span := range spans {
		found, err := readAs(ctx, s.caller, func(text []byte) (map[int]flow.Sample, error) {
			return samplesOf(text, wanted, monitored, vms), nil
		}, "one.vmpool.infoextended", FilterAll, span[0], span[len(span)-1], StateNotDone, "")
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(samples, found)
	}
	return samples, vms, nil
}

// samplesOf reads those of a pool's VMs that are wanted and run, and notes whose they are.
func samplesOf(text []byte, wanted map[int][]string, monitored map[int]flow.Template, vms map[int]flow.VM) map[int]flow.Sample {
	samples := map[int]flow.Sample{}
	eachElement(text, "VM", func(element []byte) {
		id := idOf(element)
		names, asked := wanted[id]
		if !asked {
			return
		}
		if sample, vm, runs := sampleOf(element, names, monitored[id]); runs {
			vm.ID = id
			samples[id], vms[id] = sample, vm
		}
	})
	return samples
}

// monitoringOf reads the last figures of the VMs wanted; of several of one VM the
// last one counts.
func monitoringOf(text []byte, wanted map[int][]string) map[int]flow.Template {
	figures := map[int]flow.Template{}
	eachElement(text, "MONITORING", func(element []byte) {
		id := idOf(element)
		if _, asked := wanted[id]; !asked {
			return
		}
		if tree, err := readTree(element); err == nil {
			figures[id] = tree
		}
	})
	return figures
}

// sampleOf reads one VM's element; false if the VM does not run.
func sampleOf(element []byte, names []string, monitoring flow.Template) (flow.Sample, flow.VM, bool) {
	tree, err := readTree(element)
	if err != nil || plain(tree, "STATE") != "3" || plain(tree, "LCM_STATE") != "3" {
		return nil, flow.VM{}, false
	}
	sample := flow.Sample{}
	for _, name := range names {
		for _, place := range []flow.Template{inside(tree, "USER_TEMPLATE"), monitoring, inside(tree, "TEMPLATE"), tree} {
			if value, has := numberIn(place, name); has {
				sample[name] = value
				break
			}
		}
	}
	return sample, vmOf(tree), true
}

// vmOf is what a VM's tree says of whose it is.
func vmOf(tree flow.Template) flow.VM {
	user := inside(tree, "USER_TEMPLATE")
	return flow.VM{
		Owner: flow.Identity{UID: idOrNone(plain(tree, "UID"))}, Service: idOrNone(plain(user, "SERVICE_ID")),
		Role: bounded(plain(user, "ROLE_NAME")), Key: bounded(plain(user, "FLOWJET_KEY")),
	}
}

// eachElement hands over the elements of a pool that have the name, as they are
// written.
func eachElement(text []byte, name string, take func(element []byte)) {
	r := onexml.New(text)
	r.Root()
	r.At(func() { take(r.Element()) }, name)
}

// idOf is the number in an object's first ID, -1 without one.
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

func plain(tree flow.Template, name string) string {
	for _, attribute := range tree {
		if attribute.Name == name && attribute.Vector == nil {
			return attribute.Value
		}
	}
	return ""
}

func inside(tree flow.Template, name string) flow.Template {
	for _, attribute := range tree {
		if attribute.Name == name {
			return attribute.Vector
		}
	}
	return nil
}

func numberIn(tree flow.Template, name string) (float64, bool) {
	for _, attribute := range tree {
		if !strings.EqualFold(attribute.Name, name) || attribute.Vector != nil {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(attribute.Value), 64)
		return value, err == nil && !math.IsInf(value, 0) && !math.IsNaN(value)
	}
	return 0, false
}
