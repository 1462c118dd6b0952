package sim

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
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

// size is what a VM takes of a host: hundredths of a CPU and MiB.
func (v *vm) size() (cpu, memory int) {
	cores, err := strconv.ParseFloat(strings.TrimSpace(v.Template.text("CPU")), 64)
	if err != nil {
		cores = 1
	}
	return int(math.Ceil(cores * 100)), v.Template.number("MEMORY", 0)
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

// pickHost finds room for a VM, host after host; nil when the cloud is full.
func (c *cloud) pickHost(v *vm) *host {
	if v.Wanted >= 0 && v.Wanted < len(c.hosts) {
		if wanted := c.hosts[v.Wanted]; wanted.fits(v) {
			return wanted
		}
	}
	for i := range c.hosts {
		h := c.hosts[(c.nextHost+i)%len(c.hosts)]
		if h.fits(v) {
			c.nextHost = (h.ID + 1) % len(c.hosts)
			return h
		}
	}
	return nil
}

// freeHost gives a VM's capacity back.
func (c *cloud) freeHost(v *vm) {
	if v.Host < 0 {
		return
	}
	h := c.hosts[v.Host]
	cpu, memory := v.size()
	h.usedCPU -= cpu
	h.usedMemory -= memory
	delete(h.vms, v.ID)
	v.Host = -1
}

// hostPoolInfo is one.hostpool.info.
func hostPoolInfo(r *request) answer {
	if !r.who.isAdmin() {
		return refusedAnswer(r.who.notAuthorized("USE HOST POOL"))
	}
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "HOST_POOL")
		for _, h := range r.cloud.hosts {
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
