package opennebula

import (
	"context"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Network is a virtual network.
type Network struct {
	ID    int
	Owner one.Identity
	Name  string
	State one.NetworkState
	// Parent is the network that the addresses are reserved from, Template the
	// network template that it was made from; -1 for none.
	Parent   int
	Template int
}

func readNetwork(r *onexml.Reader) Network {
	n := Network{Parent: -1, Template: -1}
	r.Fields(onexml.Fields{
		"UID": &n.Owner.UID, "GID": &n.Owner.GID, "UNAME": &n.Owner.UName, "GNAME": &n.Owner.GName,
		"ID": &n.ID, "NAME": &n.Name, "STATE": (*int)(&n.State),
		"PARENT_NETWORK_ID": func() { n.Parent = idOrNone(r.String()) },
		"TEMPLATE_ID":       func() { n.Template = idOrNone(r.String()) },
	})
	return n
}

// idOrNone reads an id; -1 if oned leaves it empty or it is none.
func idOrNone(text string) int {
	id, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || id < 0 {
		return -1
	}
	return id
}

// Network reads a virtual network (one.vn.info).
func (s networkCalls) Network(ctx context.Context, id int) (Network, error) {
	return object(ctx, s.caller, readNetwork, "one.vn.info", id, false)
}

// Networks lists virtual networks (one.vnpool.info). The filter is FilterAll, or
// the id of a user whose networks are wanted.
func (s networkCalls) Networks(ctx context.Context, filter int) ([]Network, error) {
	return pool(ctx, s.caller, "VNET", readNetwork, "one.vnpool.info", filter, -1, -1)
}

// InstantiateNetwork makes a virtual network from a network template and
// returns its id (one.vntemplate.instantiate). Extra is template text that is
// merged into it. oned refuses a name that the user has given to another network.
func (s networkCalls) InstantiateNetwork(ctx context.Context, template int, name, extra string) (int, error) {
	return s.callID(ctx, "one.vntemplate.instantiate", template, name, extra)
}

// ReserveNetwork makes a virtual network of addresses reserved from another one
// and returns its id (one.vn.reserve). The text holds SIZE and NAME.
func (s networkCalls) ReserveNetwork(ctx context.Context, parent int, text string) (int, error) {
	return s.callID(ctx, "one.vn.reserve", parent, text)
}

// DeleteNetwork deletes a virtual network (one.vn.delete); oned refuses while
// its addresses are in use.
func (s networkCalls) DeleteNetwork(ctx context.Context, id int) error {
	return s.do(ctx, "one.vn.delete", id)
}

// ChownNetwork changes a virtual network's user and group; -1 leaves one as it is
// (one.vn.chown).
func (s networkCalls) ChownNetwork(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vn.chown", id, uid, gid)
}

// Router is a virtual router.
type Router struct {
	ID    int
	Owner one.Identity
	Name  string
	// Key is its FLOWJET_KEY: the purpose that it was made for.
	Key string
	VMs []int
	// Addresses are shared by its VMs.
	Addresses []one.FloatingIP
}

func readRouter(r *onexml.Reader) (router Router) {
	addNIC := func() {
		nic := one.FloatingIP{NetworkID: -1}
		r.Fields(onexml.Fields{"NETWORK_ID": func() { nic.NetworkID = idOrNone(r.String()) }, "VROUTER_IP": &nic.Address})
		if nic.NetworkID >= 0 && nic.Address != "" {
			router.Addresses = append(router.Addresses, nic)
		}
	}
	r.Fields(onexml.Fields{
		"UID": &router.Owner.UID, "GID": &router.Owner.GID, "UNAME": &router.Owner.UName, "GNAME": &router.Owner.GName,
		"ID": &router.ID, "NAME": &router.Name,
		"VMS":      func() { r.At(func() { router.VMs = append(router.VMs, r.Int()) }, "ID") },
		"TEMPLATE": func() { r.Fields(onexml.Fields{"FLOWJET_KEY": &router.Key, "NIC": addNIC}) },
	})
	return router
}

// Router reads a virtual router (one.vrouter.info).
func (s networkCalls) Router(ctx context.Context, id int) (Router, error) {
	return object(ctx, s.caller, readRouter, "one.vrouter.info", id, false)
}

// Routers lists virtual routers (one.vrouterpool.info). The filter is FilterAll,
// or the id of a user whose routers are wanted.
func (s networkCalls) Routers(ctx context.Context, filter int) ([]Router, error) {
	return pool(ctx, s.caller, "VROUTER", readRouter, "one.vrouterpool.info", filter, -1, -1)
}

// AllocateRouter makes a virtual router from template text, which holds its NAME
// and NICs, and returns its id (one.vrouter.allocate).
func (s networkCalls) AllocateRouter(ctx context.Context, text string) (int, error) {
	return s.callID(ctx, "one.vrouter.allocate", text)
}

// InstantiateRouter makes a VM of a virtual router from a VM template
// (one.vrouter.instantiate). The answer does not name the VM.
func (s networkCalls) InstantiateRouter(ctx context.Context, id, template int, name string, hold bool, extra string) error {
	const count = 1
	return s.do(ctx, "one.vrouter.instantiate", id, count, template, name, hold, extra)
}

// DeleteRouter deletes a virtual router and ends its VMs (one.vrouter.delete).
func (s networkCalls) DeleteRouter(ctx context.Context, id int) error {
	return s.do(ctx, "one.vrouter.delete", id)
}

// ChownRouter changes a virtual router's user and group, and those of its VMs;
// -1 leaves one as it is (one.vrouter.chown).
func (s networkCalls) ChownRouter(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vrouter.chown", id, uid, gid)
}
