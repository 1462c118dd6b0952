package sim

import (
	"maps"
	"slices"
)

// host is a hypervisor of the simulated zone.
type host struct {
	ID   int
	Name string
	// Capacity and use, in hundredths of a CPU and in MiB.
	cpu, memory         int
	usedCPU, usedMemory int
	vms                 map[int]bool
}

func newHost(id int, name string, config Config) *host {
	return &host{ID: id, Name: name, cpu: config.HostCPUs * 100, memory: config.HostMemory, vms: map[int]bool{}}
}

func (h *host) fits(v *vm) bool {
	cpu, memory := v.size()
	return h.usedCPU+cpu <= h.cpu && h.usedMemory+memory <= h.memory
}

func (h *host) take(v *vm) {
	cpu, memory := v.size()
	h.usedCPU += cpu
	h.usedMemory += memory
	h.vms[v.ID] = true
	v.Host = h.ID
}

// hosts are all hosts, and which one is to be asked first for the next VM.
type hosts struct {
	all  []*host
	next int
}

func newHosts(config Config) *hosts {
	h := &hosts{}
	for i, name := range []string{"host1", "host2", "host3", "host4"} {
		h.all = append(h.all, newHost(i, name, config))
	}
	return h
}

// pick finds room for a VM, host after host; nil when the cloud is full.
func (h *hosts) pick(v *vm) *host {
	if v.Wanted >= 0 && v.Wanted < len(h.all) {
		if wanted := h.all[v.Wanted]; wanted.fits(v) {
			return wanted
		}
	}
	for i := range h.all {
		one := h.all[(h.next+i)%len(h.all)]
		if one.fits(v) {
			h.next = (one.ID + 1) % len(h.all)
			return one
		}
	}
	return nil
}

// free gives a VM's capacity back.
func (h *hosts) free(v *vm) {
	if v.Host < 0 {
		return
	}
	one := h.all[v.Host]
	cpu, memory := v.size()
	one.usedCPU -= cpu
	one.usedMemory -= memory
	delete(one.vms, v.ID)
	v.Host = -1
}

// hostPoolInfo is one.hostpool.info.
func hostPoolInfo(r *request) answer {
	if !r.who.isAdmin() {
		return refusedAnswer(r.who.notAuthorized("USE HOST POOL"))
	}
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "HOST_POOL")
		for _, h := range r.cloud.hosts.all {
			h.write(b)
		}
		shut(b, "HOST_POOL")
	})
}

func (h *host) write(b *xmlWriter) {
	open(b, "HOST")
	number(b, "ID", h.ID)
	element(b, "NAME", h.Name)
	number(b, "STATE", 2)
	number(b, "PREV_STATE", 2)
	cdata(b, "IM_MAD", dummyDriver)
	cdata(b, "VM_MAD", dummyDriver)
	number(b, "CLUSTER_ID", 0)
	element(b, "CLUSTER", "default")
	open(b, "HOST_SHARE")
	number(b, "MEM_USAGE", h.usedMemory<<10)
	number(b, "CPU_USAGE", h.usedCPU)
	number(b, "TOTAL_MEM", h.memory<<10)
	number(b, "TOTAL_CPU", h.cpu)
	number(b, "MAX_MEM", h.memory<<10)
	number(b, "MAX_CPU", h.cpu)
	number(b, "RUNNING_VMS", len(h.vms))
	number(b, "VMS_THREAD", 1)
	markup(b, "<DATASTORES></DATASTORES><PCI_DEVICES></PCI_DEVICES>")
	shut(b, "HOST_SHARE")
	identifiers(b, "VMS", slices.Sorted(maps.Keys(h.vms)))
	markup(b, "<TEMPLATE></TEMPLATE><MONITORING></MONITORING>")
	shut(b, "HOST")
}
