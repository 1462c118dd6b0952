package opennebula

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

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
