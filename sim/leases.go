package sim

import (
	"encoding/binary"
	"fmt"
	"net"
	"sort"
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

// holder is who has an address: VM, VNET or VROUTER and its id.
type holder struct {
	kind string
	id   int
}

func ipText(ip uint32) string {
	return fmt.Sprintf("%d.%d.%d.%d", byte(ip>>24), byte(ip>>16), byte(ip>>8), byte(ip))
}

func macText(mac uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x",
		byte(mac>>40), byte(mac>>32), byte(mac>>24), byte(mac>>16), byte(mac>>8), byte(mac))
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

// take gives the first free address to a holder.
func (r *addressRange) take(h holder) (index int, ok bool) {
	for index = r.lowest; index < r.Size; index++ {
		if _, taken := r.used[index]; !taken {
			r.hold(index, h)
			r.lowest = index + 1
			return index, true
		}
	}
	r.lowest = r.Size
	return 0, false
}

// takeWanted gives the wanted address, or the first free one where it is "".
func (r *addressRange) takeWanted(h holder, wanted string) (index int, ok bool) {
	ip, isIP := parseIP(wanted)
	if !isIP {
		return r.take(h)
	}
	return int(ip) - int(r.IP), r.takeAddress(ip, h)
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

// takeBlock gives so many addresses in a row to a holder.
func (r *addressRange) takeBlock(size int, h holder) (first int, ok bool) {
	free := 0
	for index := r.lowest; index < r.Size; index++ {
		if _, taken := r.used[index]; taken {
			free = 0
			continue
		}
		free++
		if free == size {
			first = index - size + 1
			for i := first; i <= index; i++ {
				r.hold(i, h)
			}
			return first, true
		}
	}
	return 0, false
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

// nextIndex is the index behind the highest used one.
func (r *addressRange) nextIndex() int {
	next := 0
	for index := range r.used {
		next = max(next, index+1)
	}
	return next
}

// write writes the range's attributes, and its leases for one.vn.info.
func (r *addressRange) write(b *xmlWriter, form networkForm) {
	open(b, "AR")
	if form == storedForm {
		cdata(b, "ALLOCATED", "")
	}
	cdata(b, "AR_ID", itoa(r.ID))
	cdata(b, "IP", ipText(r.IP))
	cdata(b, "MAC", macText(r.MAC))
	cdata(b, "NEXT_INDEX", itoa(r.nextIndex()))
	if r.Parent >= 0 {
		cdata(b, "PARENT_NETWORK_AR_ID", itoa(r.Parent))
	}
	cdata(b, "SHARED", "NO")
	cdata(b, "SIZE", itoa(r.Size))
	cdata(b, "TYPE", "IP4")
	if form == infoForm {
		cdata(b, "MAC_END", macText(r.MAC+uint64(r.Size)-1))
		cdata(b, "IP_END", ipText(r.IP+uint32(r.Size)-1))
		number(b, "USED_LEASES", len(r.used))
		r.writeLeases(b)
	}
	shut(b, "AR")
}

func (r *addressRange) writeLeases(b *xmlWriter) {
	if len(r.used) == 0 {
		markup(b, "<LEASES/>")
		return
	}
	indices := make([]int, 0, len(r.used))
	for index := range r.used {
		indices = append(indices, index)
	}
	sort.Ints(indices)
	open(b, "LEASES")
	for _, index := range indices {
		open(b, "LEASE")
		cdata(b, "IP", ipText(r.IP+uint32(index)))
		cdata(b, "MAC", macText(r.MAC+uint64(index)))
		cdata(b, r.used[index].kind, itoa(r.used[index].id))
		shut(b, "LEASE")
	}
	shut(b, "LEASES")
}
