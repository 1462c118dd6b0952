package sim

import (
	"fmt"

	"github.com/flowjet/flowjet/opennebula"
)

var networks = class[network, *network]{
	kind: kindNetwork, words: "virtual network", label: "NET", root: "VNET_POOL",
	pool: func(c *cloud) pool[network] { return c.networks },
}

// addNetwork brings a new network into the zone: LOCK_CREATE, then READY.
func addNetwork(t *tx, n *network) {
	n.State = opennebula.NetworkLockCreate
	t.cloud.networks[n.ID] = n
	t.save(kindNetwork, n.ID, n)
	t.emit(networkEvent(n))
	t.db.scheduleNetwork(n)
}

// networkStep is LOCK_CREATE to READY, or LOCK_DELETE to DONE and away.
func networkStep(t *tx, id int) {
	n := t.cloud.networks[id]
	if n == nil || t.db.raft.leader() < 0 {
		return
	}
	switch n.State {
	case opennebula.NetworkLockCreate:
		n.State, n.unwritten = opennebula.NetworkReady, t.written
		t.emit(networkEvent(n))
		n.PrevState = opennebula.NetworkReady
		t.save(kindNetwork, id, n)
	case opennebula.NetworkLockDelete:
		n.State, n.PrevState = opennebula.NetworkDone, opennebula.NetworkLockDelete
		t.emit(networkEvent(n))
		delete(t.cloud.networks, id)
		t.remove(kindNetwork, id)
	}
}

// networkReserve is one.vn.reserve(parent, template with SIZE and NAME): a
// block of the parent's addresses becomes a network of its own.
func networkReserve(r *request) answer {
	parent, refused := networks.find(r, r.int(1), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	asked, err := parseTemplate(r.text(2))
	if err != nil {
		return refusedAnswer(refuse(opennebula.CodeAction, err.Error()))
	}
	size, name := asked.number("SIZE", 0), asked.text("NAME")
	switch {
	case name == "":
		return refusedAnswer(refuse(opennebula.CodeAction, "NAME for reservation has to be set"))
	case size <= 0:
		return refusedAnswer(refuse(opennebula.CodeAction, "Reservation SIZE must be a greater than 0"))
	}
	if reason := networks.newName(r, name); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeInternal, reason))
	}
	id := r.cloud.next[kindNetwork]
	block, refused := parent.reserve(size, id)
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.tx.nextID(kindNetwork)
	addNetwork(r.tx, &network{
		object: r.cloud.owned(id, name, r.who), Parent: parent.ID, FromID: -1,
		Template: parent.Template, Ranges: []addressRange{block},
	})
	return idAnswer(id)
}

// reserve takes addresses in a row for another network.
func (n *network) reserve(size, forNetwork int) (addressRange, *refusal) {
	for i := range n.Ranges {
		r := &n.Ranges[i]
		if first, ok := r.takeBlock(size, holder{holderVNet, forNetwork}); ok {
			return addressRange{
				IP: r.IP + uint32(first), MAC: r.MAC + uint64(first), Size: size, Parent: r.ID,
			}, nil
		}
	}
	return addressRange{}, refuse(opennebula.CodeAction,
		fmt.Sprintf("Not enough free addresses in an address range of virtual network %d.", n.ID))
}

// networkDelete is one.vn.delete: refused while addresses are in use.
func networkDelete(r *request, n *network) *refusal {
	if n.State == opennebula.NetworkLockDelete {
		return refuse(opennebula.CodeAction, "Virtual network is being deleted already.")
	}
	if used := n.usedLeases(); used > 0 {
		return refuse(opennebula.CodeAction,
			fmt.Sprintf("Cannot delete virtual network [%d]: %d leases are in use.", n.ID, used))
	}
	r.extra = xmlText(func(b *xmlWriter) { n.write(b, storedForm) })
	if parent := r.cloud.networks[n.Parent]; parent != nil {
		parent.takeBack(n)
	}
	n.PrevState, n.State = n.State, opennebula.NetworkLockDelete
	r.tx.emit(networkEvent(n))
	r.tx.db.scheduleNetwork(n)
	return nil
}

// takeBack frees the addresses of a reservation.
func (n *network) takeBack(reservation *network) {
	for _, block := range reservation.Ranges {
		for i := range n.Ranges {
			n.Ranges[i].release(block.IP, block.Size, holder{holderVNet, reservation.ID})
		}
	}
}
