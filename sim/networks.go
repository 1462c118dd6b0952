package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// network is a virtual network.
type network struct {
	object
	State     opennebula.NetworkState `json:"state"`
	PrevState opennebula.NetworkState `json:"prev_state"`
	Parent    int                     `json:"parent"`
	FromID    int                     `json:"template_id"`
	Template  template                `json:"template"`
	Ranges    []addressRange          `json:"ranges"`

	// unwritten is until when reads show it in LOCK_CREATE.
	unwritten time.Time
}

// networkForm says how much of a network is written.
type networkForm int

const (
	// infoForm is one.vn.info: with the leases.
	infoForm networkForm = iota
	// eventForm is a state event's: the ranges without leases, none while the
	// network is made or removed.
	eventForm
	// storedForm is an API event's EXTRA.
	storedForm
)

// networkDefaults is what a network's template says where nobody said more.
func networkDefaults(bridge string) template {
	return template{
		single("BRIDGE", bridge), single("BRIDGE_TYPE", "linux"), single("OUTER_VLAN_ID", ""),
		single("PHYDEV", ""), single("SECURITY_GROUPS", "0"), single("VLAN_ID", ""), single("VN_MAD", dummyDriver),
	}
}

func (n *network) usedLeases() int {
	used := 0
	for i := range n.Ranges {
		used += len(n.Ranges[i].used)
	}
	return used
}

// holders are the ids of one kind that have addresses of the network.
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
func (n *network) show(b *xmlWriter) {
	if !time.Now().Before(n.unwritten) {
		n.write(b, infoForm)
		return
	}
	earlier := *n
	earlier.State, earlier.PrevState = opennebula.NetworkLockCreate, 0
	earlier.write(b, infoForm)
}

// unshare gives a copy ranges of its own.
func (n *network) unshare() {
	n.Ranges = slices.Clone(n.Ranges)
	for i := range n.Ranges {
		n.Ranges[i].used = maps.Clone(n.Ranges[i].used)
	}
}

func (n *network) write(b *xmlWriter, form networkForm) {
	open(b, "VNET")
	n.headAndPermissions(b)
	identifiers(b, "CLUSTERS", []int{0})
	cdata(b, "BRIDGE", n.Template.text("BRIDGE"))
	cdata(b, "BRIDGE_TYPE", "linux")
	cdata(b, "STATE", itoa(int(n.State)))
	cdata(b, "PREV_STATE", itoa(int(n.PrevState)))
	optional(b, "PARENT_NETWORK_ID", n.Parent)
	optional(b, "TEMPLATE_ID", n.FromID)
	cdata(b, "VN_MAD", n.Template.text("VN_MAD"))
	markup(b, "<PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>")
	number(b, "VLAN_ID_AUTOMATIC", 0)
	number(b, "OUTER_VLAN_ID_AUTOMATIC", 0)
	number(b, "USED_LEASES", n.usedLeases())
	identifiers(b, "VROUTERS", n.holders(holderVRouter))
	identifiers(b, "UPDATED_VMS", n.holders(holderVM))
	markup(b, "<OUTDATED_VMS></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>")
	n.Template.write(b, "TEMPLATE")
	n.writeRanges(b, form)
	shut(b, "VNET")
}

func (n *network) writeRanges(b *xmlWriter, form networkForm) {
	open(b, "AR_POOL")
	if form != eventForm || n.State == opennebula.NetworkReady {
		for i := range n.Ranges {
			n.Ranges[i].write(b, form)
		}
	}
	shut(b, "AR_POOL")
}

// The kinds of lease holders, as they stand in a LEASE.
const (
	holderVM      = "VM"
	holderVNet    = "VNET"
	holderVRouter = "VROUTER"
)

// lease is one address that was given.
type lease struct {
	network *network
	rangeID int
	ip      string
	mac     string
}

// take gives a free address of a network; wanted is one address or "".
func (n *network) take(h holder, wanted string) (given lease, reason string) {
	for i := range n.Ranges {
		r := &n.Ranges[i]
		if index, ok := r.takeWanted(h, wanted); ok {
			return lease{n, r.ID, ipText(r.IP + uint32(index)), macText(r.MAC + uint64(index))}, ""
		}
	}
	return lease{}, fmt.Sprintf("Cannot get IP/MAC lease from virtual network %d.", n.ID)
}

// releaseNIC gives the addresses of a NIC back.
func (c *cloud) releaseNIC(nic attribute, h holder) {
	inner := nic.inner()
	n := c.networks[inner.number("NETWORK_ID", -1)]
	if n == nil {
		return
	}
	for _, name := range []string{"IP", "VROUTER_IP"} {
		if ip, ok := parseIP(inner.text(name)); ok {
			for i := range n.Ranges {
				n.Ranges[i].release(ip, 1, h)
			}
		}
	}
}

// holdNIC takes the addresses of a NIC that was read from the state file.
func (c *cloud) holdNIC(nic attribute, h holder, names ...string) {
	inner := nic.inner()
	n := c.networks[inner.number("NETWORK_ID", -1)]
	if n == nil {
		return
	}
	for _, name := range names {
		if ip, ok := parseIP(inner.text(name)); ok {
			for i := range n.Ranges {
				n.Ranges[i].takeAddress(ip, h)
			}
		}
	}
}

// networkOf finds the network that a NIC names: by id, or by name among the
// user's own first and then among all.
func (c *cloud) networkOf(who identity, nic template) (n *network, reason string) {
	if nic.has("NETWORK_ID") {
		id := nic.number("NETWORK_ID", -1)
		if n := c.networks[id]; n != nil {
			return n, ""
		}
		return nil, "Virtual network with ID: " + nic.text("NETWORK_ID") + " does not exist"
	}
	name := nic.text("NETWORK")
	var found *network
	for _, id := range c.networks.ids() {
		n := c.networks[id]
		if n.Name != name {
			continue
		}
		if n.UID == who.user.ID {
			return n, ""
		}
		if found == nil {
			found = n
		}
	}
	if found == nil {
		return nil, fmt.Sprintf("User %d does not own a network with name: %s . "+
			"Set NETWORK_UNAME or NETWORK_UID of owner in NIC.", who.user.ID, name)
	}
	return found, ""
}

// parseRange reads AR = [ TYPE = IP4, IP = ..., SIZE = ... ]; false where that is no range.
func parseRange(id int, ar template) (addressRange, bool) {
	ip, ok := parseIP(ar.text("IP"))
	size := ar.number("SIZE", 0)
	if !ok || size <= 0 || size > 1<<24 {
		return addressRange{}, false
	}
	return addressRange{ID: id, IP: ip, MAC: macPrefix | uint64(ip), Size: size, Parent: -1}, true
}

func itoa(n int) string { return strconv.Itoa(n) }

func (n *network) holdBlock(block addressRange, h holder) {
	for i := range n.Ranges {
		for offset := 0; offset < block.Size; offset++ {
			n.Ranges[i].takeAddress(block.IP+uint32(offset), h)
		}
	}
}
