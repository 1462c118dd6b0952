package opennebula

import (
	"context"
	"errors"
	"maps"
	"math"
	"strconv"
	"strings"

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
