package sim

import (
	"cmp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// vrouter is a virtual router, whose addresses float over its VMs.
type vrouter struct {
	object
	VMs      []int             `json:"vms"`
	Template template.Template `json:"template"`
}

func (v *vrouter) show(w *xmlrpc.Writer) {
	v.headAndPermissions(w)
	w.Fields("VMS", v.VMs)
	v.Template.Write(w, "TEMPLATE")
}

// unshare gives a copy its own VMs.
func (v *vrouter) unshare() { v.VMs = slices.Clone(v.VMs) }

var vrouters = class[vrouter, *vrouter]{kind: kindVRouter, words: "virtual router", label: "VROUTER", element: "VROUTER"}

// vrouterAllocate is one.vrouter.allocate: NICs with FLOATING_IP get their addresses now.
func vrouterAllocate(r *request) any {
	parsed, id := r.template(1), r.cloud.next[kindVRouter]
	name := cmp.Or(parsed.Text("NAME"), "vr-"+itoa(id))
	refuseFor(opennebula.CodeInternal, badName(name))
	nics := r.cloud.eachNIC(parsed, holder{holderVRouter, id}, func(i int, nic template.Template) template.Attribute { return r.floatingNIC(id, i, nic) })
	r.tx.nextID(kindVRouter)
	return vrouters.made(r, &vrouter{object: r.cloud.owned(id, name, r.who), Template: parsed.Without("NAME", "NIC").With(nics...)})
}

// floatingNIC returns a router's NIC with its network and its floating address.
func (r *request) floatingNIC(id, index int, nic template.Template) template.Attribute {
	notAllocated := func(reason string) { refuse(opennebula.CodeInternal, reason) }
	n := r.cloud.networkOf(r.who, nic, notAllocated)
	r.who.authorize(use, networks.label, &n.object)
	full := nic.Merged(template.Of("NETWORK", n.Name, "NETWORK_ID", itoa(n.ID), "NIC_ID", itoa(index)))
	if nic.Is("FLOATING_IP") {
		full = full.Merged(n.allocate(holder{holderVRouter, id}, nic.Text("IP"), "VROUTER_", notAllocated))
	}
	return template.Vector("NIC", full...)
}

// maxRouterVMs bounds the VMs of one instantiation.
const maxRouterVMs = 64

// vrouterInstantiate is one.vrouter.instantiate(router, VMs, VM template, name, hold, extra): the
// router's NICs become those of its VMs. %i in the name is the number of the VM.
func vrouterInstantiate(r *request, router *vrouter) any {
	from := templates.find(r, r.int(3), use)
	refuseIf(!from.Template.Is("VROUTER"), opennebula.CodeAction, "Only virtual router templates are allowed")
	extra, count := r.template(6), r.int(2)
	refuseIf(count > maxRouterVMs, opennebula.CodeAction, "The simulator makes at most "+itoa(maxRouterVMs)+" VMs at a time.")
	extra = extra.Without("NIC", "VROUTER").With(router.Template.Vectors("NIC")...).With(template.Of("VROUTER_ID", itoa(router.ID))...)
	for i := range count {
		name := strings.ReplaceAll(r.text(4), "%i", itoa(i))
		made := r.tx.makeVM(r.who, order{from: from, name: name, hold: r.int(5) == 1, extra: extra, router: router})
		r.tx.enter(made, made.status())
		router.VMs = append(router.VMs, made.ID)
	}
	router.Template = router.Template.Set("TEMPLATE_ID", itoa(from.ID))
	return vrouters.save(r.tx, router)
}

// vrouterChown gives the router's VMs to its new owner, too.
func vrouterChown(r *request, router *vrouter) {
	r.cloud.chown(r.who, &router.object, r.int(2), r.int(3))
	for _, id := range router.VMs {
		if v := r.cloud.vms[id]; v != nil {
			v.UID, v.GID, v.UName, v.GName = router.UID, router.GID, router.UName, router.GName
			vms.save(r.tx, v)
		}
	}
}

// vrouterDelete removes a router and terminates its VMs, in any state.
func vrouterDelete(r *request, router *vrouter) any {
	vrouters.remove(r, router)
	for _, id := range router.VMs {
		v := r.cloud.vms[id]
		if v == nil || v.State == one.VMDone {
			continue
		}
		if attempt(func() { r.tx.act(r.who, "terminate-hard", v) }) != nil {
			_ = attempt(func() { r.tx.recoverVM(v, recoverDelete) }) // only a VM that is gone refuses it
		}
	}
	for _, nic := range router.Template.Vectors("NIC") {
		r.cloud.releaseNIC(nic, holder{holderVRouter, router.ID})
	}
	return router.ID
}
