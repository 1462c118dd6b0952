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
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			n.ID = r.Int()
		case "NAME":
			n.Name = r.String()
		case "STATE":
			n.State = one.NetworkState(r.Int())
		case "PARENT_NETWORK_ID":
			n.Parent = idOrNone(r.String())
		case "TEMPLATE_ID":
			n.Template = idOrNone(r.String())
		default:
			readOwner(r, name, &n.Owner)
		}
	})
	return n
}

// idOrNone reads an id; -1 is for where oned leaves it empty and for what is none.
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
