package opennebula

import "github.com/flowjet/flowjet/flow"

// plainNetworks reads a pool of virtual networks by plainXML; ok is false where
// that cannot.
func plainNetworks(text []byte) (networks []Network, ok bool) {
	networks = []Network{}
	ok = plainElements(text, "VNET_POOL", func(p *plainXML, name []byte) { networks = append(networks, p.network(name)) })
	return networks, ok
}

func (p *plainXML) network(element []byte) Network {
	n := Network{Parent: -1, Template: -1}
	p.children(element, func(name []byte) {
		switch string(name) {
		case "ID":
			n.ID = p.number(name)
		case "NAME":
			n.Name = p.word(name)
		case "STATE":
			n.State = flow.NetworkState(p.number(name))
		case "PARENT_NETWORK_ID":
			n.Parent = idOrNone(p.word(name))
		case "TEMPLATE_ID":
			n.Template = idOrNone(p.word(name))
		default:
			p.owner(name, &n.Owner)
		}
	})
	return n
}
