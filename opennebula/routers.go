package opennebula

import (
	"context"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Router is a virtual router.
type Router struct {
	ID    int
	Owner one.Identity
	Name  string
	// Key is its FLOWJET_KEY: what it was made for.
	Key string
	VMs []int
	// Addresses are those that its VMs share.
	Addresses []one.FloatingIP
}

func readRouter(r *onexml.Reader) (router Router) {
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			router.ID = r.Int()
		case "NAME":
			router.Name = r.String()
		case "VMS":
			r.At(func() { router.VMs = append(router.VMs, r.Int()) }, "ID")
		case "TEMPLATE":
			r.Each(func(name []byte) {
				switch string(name) {
				case "FLOWJET_KEY":
					router.Key = r.String()
				case "NIC":
					nic := one.FloatingIP{NetworkID: -1}
					r.Each(func(name []byte) {
						switch string(name) {
						case "NETWORK_ID":
							nic.NetworkID = idOrNone(r.String())
						case "VROUTER_IP":
							nic.Address = r.String()
						}
					})
					if nic.NetworkID >= 0 && nic.Address != "" {
						router.Addresses = append(router.Addresses, nic)
					}
				}
			})
		default:
			readOwner(r, name, &router.Owner)
		}
	})
	return router
}

// Router reads a virtual router (one.vrouter.info).
func (s routerCalls) Router(ctx context.Context, id int) (Router, error) {
	return object(ctx, s.caller, readRouter, "one.vrouter.info", id, false)
}

// Routers lists virtual routers (one.vrouterpool.info). The filter is FilterAll,
// or the id of a user whose routers are wanted.
func (s routerCalls) Routers(ctx context.Context, filter int) ([]Router, error) {
	return pool(ctx, s.caller, "VROUTER", readRouter, "one.vrouterpool.info", filter, -1, -1)
}

// AllocateRouter makes a virtual router from template text, which holds its NAME
// and NICs, and returns its id (one.vrouter.allocate).
func (s routerCalls) AllocateRouter(ctx context.Context, text string) (int, error) {
	return s.callID(ctx, "one.vrouter.allocate", text)
}

// InstantiateRouter makes so many VMs of a virtual router from a VM template
// (one.vrouter.instantiate). %i in the name is the number of the VM; the answer
// does not say which VMs they are.
func (s routerCalls) InstantiateRouter(ctx context.Context, id, count, template int, name string, hold bool, extra string) error {
	return s.do(ctx, "one.vrouter.instantiate", id, count, template, name, hold, extra)
}

// DeleteRouter deletes a virtual router and ends its VMs (one.vrouter.delete).
func (s routerCalls) DeleteRouter(ctx context.Context, id int) error {
	return s.do(ctx, "one.vrouter.delete", id)
}

// ChownRouter changes a virtual router's user and group, and those of its VMs;
// -1 leaves one as it is (one.vrouter.chown).
func (s routerCalls) ChownRouter(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vrouter.chown", id, uid, gid)
}
