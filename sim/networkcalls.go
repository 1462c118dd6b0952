package sim

import (
	"fmt"

	"github.com/flowjet/flowjet/opennebula"
)

const networkWords = "virtual network"

// networkFor finds the network of parameter 1 that the caller has a right on.
func networkFor(r *request, needed right) (*network, *refusal) {
	found := r.cloud.networks[r.int(1)]
	if found == nil {
		return nil, notFound(networkWords, r.int(1))
	}
	return found, r.who.authorize(needed, "NET", &found.object)
}

func networkInfo(r *request) answer {
	found, refused := networkFor(r, use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(func(b *xmlWriter) { found.write(b, infoForm) })
}

// networkPoolInfo is one.vnpool.info(filter, start, end).
func networkPoolInfo(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "VNET_POOL")
		for _, id := range r.page(2).cut(newestFirst(r.cloud.networks)) {
			if n := r.cloud.networks[id]; r.who.listed(r.int(1), &n.object) {
				n.write(b, infoForm)
			}
		}
		shut(b, "VNET_POOL")
	})
}

// addNetwork brings a new network into the zone: LOCK_CREATE, then READY.
func (t *tx) addNetwork(n *network) {
	n.State = netLockCreate
	t.cloud.networks[n.ID] = n
	t.save(kindNetwork, n.ID, n)
	t.emit(networkEvent(n))
	t.sim.scheduleNetwork(n)
}

// scheduleNetwork sets the timer of a network's next step, if it has one.
func (s *Sim) scheduleNetwork(n *network) {
	if n.State != netLockCreate && n.State != netLockDelete {
		return
	}
	id := n.ID
	s.clock.after(s.delays.boot(), func() {
		s.update(func(t *tx) { t.networkStep(id) })
	})
}

// networkStep is LOCK_CREATE to READY, or LOCK_DELETE to DONE and away.
func (t *tx) networkStep(id int) {
	n := t.cloud.networks[id]
	if n == nil || t.sim.raft.leader() < 0 {
		return
	}
	switch n.State {
	case netLockCreate:
		n.State = netReady
		t.emit(networkEvent(n))
		n.PrevState = netReady
		t.save(kindNetwork, id, n)
	case netLockDelete:
		n.State, n.PrevState = netDone, netLockDelete
		t.emit(networkEvent(n))
		delete(t.cloud.networks, id)
		t.remove(kindNetwork, id)
	}
}

// networkName is oned's reason against a new network's name: a user has each
// once. It is "" where there is none.
func (r *request) networkName(name string) (reason string) {
	if reason := badName(name); reason != "" {
		return reason
	}
	for _, id := range oldestFirst(r.cloud.networks) {
		if n := r.cloud.networks[id]; n.Name == name && n.UID == r.who.user.ID {
			return fmt.Sprintf("NAME is already taken by NET %d.", id)
		}
	}
	return ""
}

// networkReserve is one.vn.reserve(parent, template with SIZE and NAME): a
// block of the parent's addresses becomes a network of its own.
func networkReserve(r *request) answer {
	parent, refused := networkFor(r, use)
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
	if reason := r.networkName(name); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeInternal, reason))
	}
	id := r.cloud.next[kindNetwork]
	block, refused := parent.reserve(size, id)
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.tx.nextID(kindNetwork)
	r.tx.addNetwork(&network{
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
func networkDelete(r *request) answer {
	found, refused := networkFor(r, manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	if found.State == netLockDelete {
		return refusedAnswer(refuse(opennebula.CodeAction, "Virtual network is being deleted already."))
	}
	if used := found.usedLeases(); used > 0 {
		return refusedAnswer(refuse(opennebula.CodeAction,
			fmt.Sprintf("Cannot delete virtual network [%d]: %d leases are in use.", found.ID, used)))
	}
	r.extra = xmlText(func(b *xmlWriter) { found.write(b, storedForm) })
	r.returnReservation(found)
	found.PrevState, found.State = found.State, netLockDelete
	r.tx.save(kindNetwork, found.ID, found)
	r.tx.emit(networkEvent(found))
	r.sim.scheduleNetwork(found)
	return idAnswer(found.ID)
}

// returnReservation gives the addresses of a reservation back to its parent.
func (r *request) returnReservation(n *network) {
	parent := r.cloud.networks[n.Parent]
	if parent == nil {
		return
	}
	for _, block := range n.Ranges {
		for i := range parent.Ranges {
			parent.Ranges[i].release(block.IP, block.Size, holder{holderVNet, n.ID})
		}
	}
}

func networkChmod(r *request) answer {
	found, refused := networkFor(r, manage)
	if refused == nil {
		refused = chmod(r.who, &found.object, "NET", r.bits())
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.tx.save(kindNetwork, found.ID, found)
	return idAnswer(found.ID)
}

// vnTemplate is a template of virtual networks.
type vnTemplate struct {
	object
	Registered int64    `json:"registered"`
	Template   template `json:"template"`
}

func (v *vnTemplate) write(b *xmlWriter) {
	open(b, "VNTEMPLATE")
	v.headAndPermissions(b)
	moment(b, "REGTIME", v.Registered)
	v.Template.write(b, "TEMPLATE")
	shut(b, "VNTEMPLATE")
}

func vnTemplateAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	id := r.tx.nextID(kindVNTemplate)
	name := parsed.text("NAME")
	if name == "" {
		name = "vntemplate-" + itoa(id)
	}
	made := &vnTemplate{object: r.cloud.owned(id, name, r.who), Registered: now(), Template: parsed.without("NAME")}
	r.cloud.vnTemplates[id] = made
	r.tx.save(kindVNTemplate, id, made)
	r.extra = xmlText(made.write)
	return idAnswer(id)
}

func vnTemplateInfo(r *request) answer {
	found := r.cloud.vnTemplates[r.int(1)]
	if found == nil {
		return refusedAnswer(notFound("virtual network template", r.int(1)))
	}
	if refused := r.who.authorize(use, "VNTEMPLATE", &found.object); refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(found.write)
}

// vnTemplateInstantiate is one.vntemplate.instantiate(id, name, extra).
func vnTemplateInstantiate(r *request) answer {
	found := r.cloud.vnTemplates[r.int(1)]
	if found == nil {
		return refusedAnswer(notFound("virtual network template", r.int(1)))
	}
	if refused := r.who.authorize(use, "VNTEMPLATE", &found.object); refused != nil {
		return refusedAnswer(refused)
	}
	extra, err := parseTemplate(r.text(3))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	made, refused := r.networkFrom(found, r.text(2), found.Template.merged(extra))
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.tx.nextID(kindNetwork)
	r.tx.addNetwork(made)
	return idAnswer(made.ID)
}

// networkFrom makes a network of a template, with the next free id.
func (r *request) networkFrom(from *vnTemplate, name string, merged template) (*network, *refusal) {
	if name == "" {
		name = from.Name
	}
	if reason := r.networkName(name); reason != "" {
		return nil, refuse(opennebula.CodeAllocate, "Error allocating a new virtual network template. "+reason)
	}
	id := r.cloud.next[kindNetwork]
	made := &network{
		object: r.cloud.owned(id, name, r.who), Parent: -1, FromID: from.ID,
		Template: networkDefaults("onebr" + itoa(id)).merged(merged.without("AR", "NAME", "TEMPLATE_ID")),
	}
	for i, ar := range merged.vectors("AR") {
		if parsed, fit := parseRange(i, ar.inner()); fit { // oned makes the network without what does not
			made.Ranges = append(made.Ranges, parsed)
		}
	}
	return made, nil
}
