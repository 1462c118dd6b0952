package sim

import (
	"encoding/binary"
	"maps"
	"net"
	"slices"

	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// addressRange is an address range of a network. Which addresses are used is
// not stored: it follows from the VMs, virtual routers and reservations.
type addressRange struct {
	ID   int    `json:"id"`
	IP   uint32 `json:"ip"`
	MAC  uint64 `json:"mac"`
	Size int    `json:"size"`
	// Parent is the range of the parent network that it was cut from, -1.
	Parent int `json:"parent"`

	used map[int]holder
	// lowest is an index under which nothing is free.
	lowest int
}

// holder is who has an address: the kind as it stands in a LEASE, and the id.
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

// take gives the first free addresses in a row to a holder.
func (r *addressRange) take(size int, h holder) (first int, ok bool) {
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

// takeAddress gives one particular address to a holder.
func (r *addressRange) takeAddress(ip uint32, h holder) bool {
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

// release gives addresses back, where the holder has them.
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
	next := 0 // behind the highest that is used
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
			w.Markup("<LEASES/>")
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
