package opennebula

import (
	"context"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// Network is a virtual network.
type Network struct {
	ID    int
	Owner flow.Identity
	Name  string
	State flow.NetworkState
	// Parent is the network that the addresses are reserved from, Template the
	// network template that it was made from; -1 for none.
	Parent   int
	Template int
}

// networkXML is the part of a virtual network's XML that is read.
type networkXML struct {
	ownerXML
	State    int    `xml:"STATE"`
	Parent   string `xml:"PARENT_NETWORK_ID"`
	Template string `xml:"TEMPLATE_ID"`
}

func (n networkXML) network() Network {
	return Network{
		ID: n.ID, Owner: n.identity(), Name: n.Name, State: flow.NetworkState(n.State),
		Parent: idOrNone(n.Parent), Template: idOrNone(n.Template),
	}
}

// idOrNone reads an id that oned leaves empty where there is none.
func idOrNone(text string) int {
	id, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return -1
	}
	return id
}

// Network reads a virtual network (one.vn.info).
func (s *Session) Network(ctx context.Context, id int) (Network, error) {
	var found networkXML
	if err := s.read(ctx, &found, "one.vn.info", id, false); err != nil {
		return Network{}, err
	}
	return found.network(), nil
}

// Networks lists virtual networks (one.vnpool.info). The filter is FilterAll, or
// the id of a user whose networks are wanted.
func (s *Session) Networks(ctx context.Context, filter int) ([]Network, error) {
	return readAs(ctx, s, readNetworks, "one.vnpool.info", filter, -1, -1)
}

func readNetworks(text []byte) ([]Network, error) {
	if plain, ok := plainNetworks(cleanXML(text)); ok {
		return plain, nil
	}
	return poolOf(networkXML.network, "one.vnpool.info", text)
}

// InstantiateNetwork makes a virtual network from a network template and
// returns its id (one.vntemplate.instantiate). Extra is template text that is
// merged into it. oned refuses a name that the user has given to another network.
func (s *Session) InstantiateNetwork(ctx context.Context, template int, name, extra string) (int, error) {
	return s.callID(ctx, "one.vntemplate.instantiate", template, name, extra)
}

// ReserveNetwork makes a virtual network of addresses reserved from another one
// and returns its id (one.vn.reserve). The text holds SIZE and NAME.
func (s *Session) ReserveNetwork(ctx context.Context, parent int, text string) (int, error) {
	return s.callID(ctx, "one.vn.reserve", parent, text)
}

// DeleteNetwork deletes a virtual network (one.vn.delete); oned refuses while
// its addresses are in use.
func (s *Session) DeleteNetwork(ctx context.Context, id int) error {
	return s.do(ctx, "one.vn.delete", id)
}
