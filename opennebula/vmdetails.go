package opennebula

import (
	"context"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// VMDetails is what people want to know of a VM.
type VMDetails struct {
	flow.VM
	// Started is when the VM was created.
	Started time.Time
	// IPs are the addresses of its interfaces, and Error is USER_TEMPLATE/ERROR.
	IPs   []string
	Error string
}

type vmDetailsXML struct {
	Started int64 `xml:"STIME"`
	NICs    []struct {
		IP       string `xml:"IP"`
		IP6      string `xml:"IP6"`
		Global   string `xml:"IP6_GLOBAL"`
		External string `xml:"EXTERNAL_IP"`
	} `xml:"TEMPLATE>NIC"`
	Error string `xml:"USER_TEMPLATE>ERROR"`
}

// spanGap is the widest gap between two ids that one call covers: a call costs about as
// much as so many VMs that nobody asked for.
const spanGap = 50

// Details reads those of the VMs that the user may see and that have not ended, with one
// call of one.vmpool.infoextended for ids that are close together.
func (s *Session) Details(ctx context.Context, ids []int) (map[int]VMDetails, error) {
	found := map[int]VMDetails{}
	wanted := slices.Compact(slices.Sorted(slices.Values(ids)))
	for len(wanted) > 0 {
		end := 1
		for end < len(wanted) && wanted[end]-wanted[end-1] <= spanGap {
			end++
		}
		_, err := readAs(ctx, s, func(text []byte) (struct{}, error) {
			eachElement(text, "VM", func(element []byte) {
				if _, asked := slices.BinarySearch(wanted[:end], idOf(element)); !asked {
					return
				}
				var vm vmXML
				var more vmDetailsXML
				// The decoder fills in what it reads until it fails.
				_, _ = unmarshal(element, &vm), unmarshal(element, &more)
				vm.ID = idOf(element)
				found[vm.ID] = more.of(vm.vm())
			})
			return struct{}{}, nil
		}, "one.vmpool.infoextended", FilterAll, wanted[0], wanted[end-1], StateNotDone, "")
		if err != nil {
			return nil, err
		}
		wanted = wanted[end:]
	}
	return found, nil
}

func (v vmDetailsXML) of(vm flow.VM) VMDetails {
	out := VMDetails{VM: vm, Started: time.Unix(v.Started, 0).UTC(), Error: bounded(v.Error)}
	for _, nic := range v.NICs {
		for _, address := range []string{nic.IP, nic.Global, nic.IP6, nic.External} {
			if address = bounded(address); address != "" && !slices.Contains(out.IPs, address) {
				out.IPs = append(out.IPs, address)
			}
		}
	}
	return out
}
