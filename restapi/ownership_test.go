package restapi

import (
	"context"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// routerSession is a session that shows one virtual router and some VMs.
type routerSession struct {
	session
	router opennebula.Router
	vms    map[int]one.VM
}

func (s routerSession) Router(context.Context, int) (opennebula.Router, error) { return s.router, nil }

func (s routerSession) VM(_ context.Context, id int) (one.VM, error) {
	vm, is := s.vms[id]
	if !is {
		return one.VM{}, &opennebula.Error{Code: opennebula.CodeNoExists}
	}
	return vm, nil
}

// A virtual router that OneFlow made goes to the service's new owner although oned has one of its VMs no longer; one
// with a stranger's VM does not.
func TestARouterWithAVMThatIsGoneIsGivenToTheNewOwner(t *testing.T) {
	owner := one.Identity{UID: 3, UName: "alice"}
	service := spec.Service{ID: 27, Owner: one.Identity{UID: 4, UName: "bob"}, Former: &owner}
	theirs, strangers := one.VM{ID: 8, Service: 27, Owner: owner, State: one.VMActive}, one.VM{ID: 9, Service: 28, Owner: owner, State: one.VMActive}
	for _, test := range []struct {
		vms   []int
		moved int
	}{{[]int{8}, 1}, {[]int{7, 8}, 1}, {[]int{8, 7}, 1}, {[]int{9}, 0}, {[]int{7, 9}, 0}} {
		oned := routerSession{router: opennebula.Router{ID: 5, Owner: owner, Name: "router", VMs: test.vms}, vms: map[int]one.VM{8: theirs, 9: strangers}}
		found, err := routerOf(t.Context(), oned, 5, service)
		if err != nil || len(found) != test.moved {
			t.Errorf("of a router with the VMs %v %d are moved, want %d (%v)", test.vms, len(found), test.moved, err)
		}
	}
}
