package opennebula

import (
	"context"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// Router is a virtual router.
type Router struct {
	ID    int
	Owner flow.Identity
	Name  string
	// Key is its FLOWJET_KEY: what it was made for.
	Key string
	VMs []int
	// Addresses are those that its VMs share.
	Addresses []flow.FloatingIP
}

// routerXML is the part of a virtual router's XML that is read.
type routerXML struct {
	ownerXML
	VMs      []int `xml:"VMS>ID"`
	Template struct {
		Key  string `xml:"FLOWJET_KEY"`
		NICs []struct {
			NetworkID string `xml:"NETWORK_ID"`
			Address   string `xml:"VROUTER_IP"`
		} `xml:"NIC"`
	} `xml:"TEMPLATE"`
}

func (r routerXML) router() Router {
	router := Router{ID: r.ID, Owner: r.identity(), Name: r.Name, Key: r.Template.Key, VMs: r.VMs}
	for _, nic := range r.Template.NICs {
		network, err := strconv.Atoi(strings.TrimSpace(nic.NetworkID))
		if err == nil && nic.Address != "" {
			router.Addresses = append(router.Addresses, flow.FloatingIP{NetworkID: network, Address: nic.Address})
		}
	}
	return router
}

// Router reads a virtual router (one.vrouter.info).
func (s *Session) Router(ctx context.Context, id int) (Router, error) {
	var found routerXML
	if err := s.read(ctx, &found, "one.vrouter.info", id, false); err != nil {
		return Router{}, err
	}
	return found.router(), nil
}

// Routers lists virtual routers (one.vrouterpool.info). The filter is FilterAll,
// or the id of a user whose routers are wanted.
func (s *Session) Routers(ctx context.Context, filter int) ([]Router, error) {
	return readPool(ctx, s, routerXML.router, "one.vrouterpool.info", filter, -1, -1)
}

// AllocateRouter makes a virtual router from template text, which holds its NAME
// and NICs, and returns its id (one.vrouter.allocate).
func (s *Session) AllocateRouter(ctx context.Context, text string) (int, error) {
	return s.callID(ctx, "one.vrouter.allocate", text)
}

// InstantiateRouter makes so many VMs of a virtual router from a VM template
// (one.vrouter.instantiate). %i in the name is the number of the VM; the answer
// does not say which VMs they are.
func (s *Session) InstantiateRouter(ctx context.Context, id, count, template int, name string, hold bool, extra string) error {
	return s.do(ctx, "one.vrouter.instantiate", id, count, template, name, hold, extra)
}

// DeleteRouter deletes a virtual router and ends its VMs (one.vrouter.delete).
func (s *Session) DeleteRouter(ctx context.Context, id int) error {
	return s.do(ctx, "one.vrouter.delete", id)
}
