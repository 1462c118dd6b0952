package sim

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

type network struct {
	object
	State     one.NetworkState  `json:"state"`
	PrevState one.NetworkState  `json:"prev_state"`
	Parent    int               `json:"parent"`
	FromID    int               `json:"template_id"`
	Template  template.Template `json:"template"`
	Ranges    []addressRange    `json:"ranges"`

	unwritten time.Time // until when reads show it in LOCK_CREATE
}

var networks = class[network, *network]{kind: kindNetwork, words: "virtual network", label: "NET", element: "VNET"}

// networkForm selects how much of a network is written.
type networkForm int

const (
	infoForm   networkForm = iota // one.vn.info: with the leases
	eventForm                     // a state event's: the ranges without leases, none while the network is made or removed
	storedForm                    // an API event's EXTRA
)

// networkDefaults returns the default attributes of a network's template.
func networkDefaults(bridge string) template.Template {
	return template.Of("BRIDGE", bridge, "BRIDGE_TYPE", "linux", "OUTER_VLAN_ID", "",
		"PHYDEV", "", "SECURITY_GROUPS", "0", "VLAN_ID", "", "VN_MAD", dummyDriver)
}

func (n *network) usedLeases() int {
	used := 0
	for i := range n.Ranges {
		used += len(n.Ranges[i].used)
	}
	return used
}

// holders returns the ids of one kind that have addresses of the network.
func (n *network) holders(kind string) []int {
	found := map[int]bool{}
	for i := range n.Ranges {
		for _, h := range n.Ranges[i].used {
			if h.kind == kind {
				found[h.id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// show writes the network as oned reads it from its database: see vm.stored.
func (n *network) show(w *xmlrpc.Writer) {
	shown := n
	if time.Now().Before(n.unwritten) {
		earlier := *n
		earlier.State, earlier.PrevState = one.NetworkLockCreate, 0
		shown = &earlier
	}
	shown.write(w, infoForm)
}

// unshare gives a copy its own ranges.
func (n *network) unshare() {
	n.Ranges = slices.Clone(n.Ranges)
	for i := range n.Ranges {
		n.Ranges[i].used = maps.Clone(n.Ranges[i].used)
	}
}

func (n *network) write(w *xmlrpc.Writer, form networkForm) {
	n.headAndPermissions(w)
	w.Fields("CLUSTERS", []int{0}, "BRIDGE", cdata(n.Template.Text("BRIDGE")), "BRIDGE_TYPE", cdata("linux"),
		"STATE", cdata(itoa(int(n.State))), "PREV_STATE", cdata(itoa(int(n.PrevState))),
		"PARENT_NETWORK_ID", xmlrpc.Optional(n.Parent), "TEMPLATE_ID", xmlrpc.Optional(n.FromID),
		"VN_MAD", cdata(n.Template.Text("VN_MAD")))
	w.WriteString("<PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>")
	w.Fields("VLAN_ID_AUTOMATIC", 0, "OUTER_VLAN_ID_AUTOMATIC", 0, "USED_LEASES", n.usedLeases(),
		"VROUTERS", n.holders(holderVRouter), "UPDATED_VMS", n.holders(holderVM))
	w.WriteString("<OUTDATED_VMS></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>")
	n.Template.Write(w, "TEMPLATE")
	w.Open("AR_POOL")
	if form != eventForm || n.State == one.NetworkReady {
		for i := range n.Ranges {
			n.Ranges[i].write(w, form)
		}
	}
	w.Shut("AR_POOL")
}

// allocate takes a free address of a network, or passes the reason against it to refuse; wanted is one address or "". It
// returns the address as attributes of a NIC, whose names have the prefix.
func (n *network) allocate(h holder, wanted, prefix string, refuse func(reason string)) (given template.Template) {
	ip, isIP := parseIP(wanted)
	for i := range n.Ranges {
		r := &n.Ranges[i]
		index, ok := int(ip)-int(r.IP), isIP && r.allocateAddress(ip, h)
		if !isIP {
			index, ok = r.allocate(1, h)
		}
		if ok {
			return template.Of("AR_ID", itoa(r.ID), prefix+"IP", ipText(r.IP+uint32(index)), prefix+"MAC", macText(r.MAC+uint64(index)))
		}
	}
	refuse(fmt.Sprintf("Cannot get IP/MAC lease from virtual network %d.", n.ID))
	return nil
}

// hold takes one particular address if it is free.
func (n *network) hold(ip uint32, h holder) {
	for i := range n.Ranges {
		n.Ranges[i].allocateAddress(ip, h)
	}
}

// release frees addresses, if the holder has them.
func (n *network) release(ip uint32, size int, h holder) {
	for i := range n.Ranges {
		n.Ranges[i].release(ip, size, h)
	}
}

func (c *cloud) releaseNIC(nic template.Attribute, h holder) {
	for n, ip := range c.addresses(nic, "IP", "VROUTER_IP") {
		n.release(ip, 1, h)
	}
}

// addresses returns the addresses in a NIC's attributes with the names, with their network.
func (c *cloud) addresses(nic template.Attribute, names ...string) iter.Seq2[*network, uint32] {
	return func(yield func(*network, uint32) bool) {
		n := c.networks[nic.Vector.Number("NETWORK_ID", -1)]
		for _, name := range names {
			if ip, ok := parseIP(nic.Vector.Text(name)); ok && n != nil && !yield(n, ip) {
				return
			}
		}
	}
}

// networkOf returns the network that a NIC names: by id, or by name among the user's own first and then among all. Without
// one it passes the reason to refuse.
func (c *cloud) networkOf(who identity, nic template.Template, refuse func(reason string)) (found *network) {
	if nic.Has("NETWORK_ID") {
		if found = c.networks[nic.Number("NETWORK_ID", -1)]; found == nil {
			refuse("Virtual network with ID: " + nic.Text("NETWORK_ID") + " does not exist")
		}
		return found
	}
	name := nic.Text("NETWORK")
	for _, id := range c.networks.ids() {
		n := c.networks[id]
		if n.Name == name && n.UID == who.user.ID {
			return n
		}
		if n.Name == name && found == nil {
			found = n
		}
	}
	if found == nil {
		refuse(fmt.Sprintf("User %d does not own a network with name: %s . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.", who.user.ID, name))
	}
	return found
}

// addNetwork adds a new network to the zone: LOCK_CREATE, then READY.
func addNetwork(t *tx, n *network) (id int) {
	n.State = one.NetworkLockCreate
	t.emit(networkEvent(n))
	t.db.scheduleNetwork(n)
	return networks.save(t, n)
}

// scheduleNetwork sets the timer of a network's next step, if it has one: LOCK_CREATE to READY, or LOCK_DELETE to DONE and
// removal.
func (d *database) scheduleNetwork(n *network) {
	if n.State != one.NetworkLockCreate && n.State != one.NetworkLockDelete {
		return
	}
	id := n.ID
	d.later(func(t *tx) {
		n := t.cloud.networks[id]
		if n == nil || d.raft.now().leader() < 0 {
			return
		}
		switch n.State {
		case one.NetworkLockCreate:
			n.State, n.unwritten = one.NetworkReady, t.written
			t.emit(networkEvent(n))
			n.PrevState = one.NetworkReady
			networks.save(t, n)
		case one.NetworkLockDelete:
			n.State, n.PrevState = one.NetworkDone, one.NetworkLockDelete
			t.emit(networkEvent(n))
			t.save(kindNetwork, id, nil)
		}
	})
}

// networkReserve is one.vn.reserve(parent, template with SIZE and NAME): a
// block of the parent's addresses becomes a network of its own.
func networkReserve(r *request, parent *network) any {
	asked := r.parsed(2, opennebula.CodeAction, "")
	size, name := asked.Number("SIZE", 0), asked.Text("NAME")
	refuseIf(name == "", opennebula.CodeAction, "NAME for reservation has to be set")
	refuseIf(size <= 0, opennebula.CodeAction, "Reservation SIZE must be a greater than 0")
	refuseFor(opennebula.CodeInternal, networks.newName(r, name))
	id := r.cloud.next[kindNetwork]
	for i := range parent.Ranges {
		from := &parent.Ranges[i]
		first, ok := from.allocate(size, holder{holderVNet, id})
		if !ok {
			continue
		}
		r.tx.nextID(kindNetwork)
		block := addressRange{IP: from.IP + uint32(first), MAC: from.MAC + uint64(first), Size: size, Parent: from.ID}
		return addNetwork(r.tx, &network{
			object: r.cloud.owned(id, name, r.who), Parent: parent.ID, FromID: -1,
			Template: parent.Template, Ranges: []addressRange{block},
		})
	}
	panic(newRefusal(opennebula.CodeAction, fmt.Sprintf("Not enough free addresses in an address range of virtual network %d.", parent.ID)))
}

// networkDelete is one.vn.delete: refused while addresses are in use.
func networkDelete(r *request, n *network) {
	refuseIf(n.State == one.NetworkLockDelete, opennebula.CodeAction, "Virtual network is being deleted already.")
	used := n.usedLeases()
	refuseIf(used > 0, opennebula.CodeAction, fmt.Sprintf("Cannot delete virtual network [%d]: %d leases are in use.", n.ID, used))
	r.extra = xmlrpc.Text(networks.element, func(w *xmlrpc.Writer) { n.write(w, storedForm) })
	if parent := r.cloud.networks[n.Parent]; parent != nil {
		for _, block := range n.Ranges {
			parent.release(block.IP, block.Size, holder{holderVNet, n.ID})
		}
	}
	n.PrevState, n.State = n.State, one.NetworkLockDelete
	r.tx.emit(networkEvent(n))
	r.tx.db.scheduleNetwork(n)
}

// addressRange is an address range of a network. The used addresses are not stored: they follow from the VMs, virtual
// routers and reservations.
type addressRange struct {
	ID     int    `json:"id"`
	IP     uint32 `json:"ip"`
	MAC    uint64 `json:"mac"`
	Size   int    `json:"size"`
	Parent int    `json:"parent"` // the range of the parent network that it was cut from, -1 if none

	used   map[int]holder
	lowest int // no index below it is free
}

// holder owns an address: the kind as in a LEASE, and the id.
type holder struct {
	kind string
	id   int
}

const (
	holderVM      = "VM"
	holderVNet    = "VNET"
	holderVRouter = "VROUTER"
)

func ipText(ip uint32) string { return net.IP(binary.BigEndian.AppendUint32(nil, ip)).String() }

func macText(mac uint64) string {
	return net.HardwareAddr(binary.BigEndian.AppendUint64(nil, mac)[2:]).String()
}

// parseIP reads an IPv4 address; false for anything else.
func parseIP(text string) (uint32, bool) {
	ip := net.ParseIP(text).To4()
	if ip == nil {
		return 0, false
	}
	return binary.BigEndian.Uint32(ip), true
}

// macPrefix is oned's default MAC_PREFIX; the address follows in the low bytes.
const macPrefix = uint64(0x0200) << 32

// allocate gives the first free addresses in a row to a holder.
func (r *addressRange) allocate(size int, h holder) (first int, ok bool) {
	free := 0
	for index := r.lowest; index < r.Size; index++ {
		if _, taken := r.used[index]; taken {
			free = 0
			continue
		}
		if free++; free < size {
			continue
		}
		first = index - size + 1
		for i := first; i <= index; i++ {
			r.hold(i, h)
		}
		if size == 1 {
			r.lowest = index + 1
		}
		return first, true
	}
	if size == 1 {
		r.lowest = r.Size
	}
	return 0, false
}

// allocateAddress gives one particular address to a holder.
func (r *addressRange) allocateAddress(ip uint32, h holder) bool {
	index := int(ip) - int(r.IP)
	if _, taken := r.used[index]; taken || index < 0 || index >= r.Size {
		return false
	}
	r.hold(index, h)
	return true
}

func (r *addressRange) hold(index int, h holder) {
	if r.used == nil {
		r.used = map[int]holder{}
	}
	r.used[index] = h
}

// release frees addresses, if the holder has them.
func (r *addressRange) release(ip uint32, size int, h holder) {
	first := int(ip) - int(r.IP)
	for index := first; index < first+size; index++ {
		if r.used[index] == h {
			delete(r.used, index)
			r.lowest = min(r.lowest, index)
		}
	}
}

// write writes the range's attributes, and its leases for one.vn.info.
func (r *addressRange) write(w *xmlrpc.Writer, form networkForm) {
	next := 0 // after the highest used index
	for index := range r.used {
		next = max(next, index+1)
	}
	w.Open("AR")
	if form == storedForm {
		w.Fields("ALLOCATED", cdata(""))
	}
	w.Fields("AR_ID", cdata(itoa(r.ID)), "IP", cdata(ipText(r.IP)), "MAC", cdata(macText(r.MAC)), "NEXT_INDEX", cdata(itoa(next)))
	if r.Parent >= 0 {
		w.Fields("PARENT_NETWORK_AR_ID", cdata(itoa(r.Parent)))
	}
	w.Fields("SHARED", cdata("NO"), "SIZE", cdata(itoa(r.Size)), "TYPE", cdata("IP4"))
	if form == infoForm {
		w.Fields("MAC_END", cdata(macText(r.MAC+uint64(r.Size)-1)), "IP_END", cdata(ipText(r.IP+uint32(r.Size)-1)),
			"USED_LEASES", len(r.used))
		if len(r.used) == 0 {
			w.WriteString("<LEASES/>")
		} else {
			w.Open("LEASES")
			for _, index := range slices.Sorted(maps.Keys(r.used)) {
				w.Group("LEASE", "IP", cdata(ipText(r.IP+uint32(index))), "MAC", cdata(macText(r.MAC+uint64(index))),
					r.used[index].kind, cdata(itoa(r.used[index].id)))
			}
			w.Shut("LEASES")
		}
	}
	w.Shut("AR")
}
