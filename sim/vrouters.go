package sim

import (
	"slices"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// vrouter is a virtual router: addresses that float over its VMs.
type vrouter struct {
	object
	VMs      []int    `json:"vms"`
	Template template `json:"template"`
}

func (v *vrouter) show(b *xmlWriter) {
	open(b, "VROUTER")
	v.headAndPermissions(b)
	identifiers(b, "VMS", v.VMs)
	v.Template.write(b, "TEMPLATE")
	shut(b, "VROUTER")
}

// unshare gives a copy VMs of its own.
func (v *vrouter) unshare() { v.VMs = slices.Clone(v.VMs) }

var vrouters = class[vrouter, *vrouter]{
	kind: kindVRouter, words: "virtual router", label: "VROUTER", root: "VROUTER_POOL",
	pool: func(c *cloud) pool[vrouter] { return c.vrouters },
}

// vrouterAllocate is one.vrouter.allocate: NICs with FLOATING_IP get their
// addresses now.
func vrouterAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	id := r.cloud.next[kindVRouter]
	name := orElse(parsed.text("NAME"), "vr-"+itoa(id))
	if reason := badName(name); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeInternal, reason))
	}
	var nics []attribute
	for i, nic := range parsed.vectors("NIC") {
		full, refused := r.floatingNIC(id, i, nic.inner())
		if refused != nil {
			for _, earlier := range nics {
				r.cloud.releaseNIC(earlier, holder{holderVRouter, id})
			}
			return refusedAnswer(refused)
		}
		nics = append(nics, full)
	}
	r.tx.nextID(kindVRouter)
	made := &vrouter{object: r.cloud.owned(id, name, r.who), Template: parsed.without("NAME", "NIC").with(nics...)}
	vrouters.save(r.tx, made)
	r.extra = xmlText(made.show)
	return idAnswer(id)
}

// floatingNIC is a router's NIC with its network and its floating address.
func (r *request) floatingNIC(id, index int, nic template) (attribute, *refusal) {
	n, reason := r.cloud.networkOf(r.who, nic)
	if reason != "" {
		return attribute{}, refuse(opennebula.CodeInternal, reason)
	}
	if refused := r.who.authorize(use, "NET", &n.object); refused != nil {
		return attribute{}, refused
	}
	full := nic.merged(template{
		single("NETWORK", n.Name), single("NETWORK_ID", itoa(n.ID)), single("NIC_ID", itoa(index)),
	})
	if strings.EqualFold(nic.text("FLOATING_IP"), "YES") {
		given, reason := n.take(holder{holderVRouter, id}, nic.text("IP"))
		if reason != "" {
			return attribute{}, refuse(opennebula.CodeInternal, reason)
		}
		full = full.merged(template{
			single("AR_ID", itoa(given.rangeID)), single("VROUTER_IP", given.ip), single("VROUTER_MAC", given.mac),
		})
	}
	return attribute{Name: "NIC", Vector: full, IsVector: true}, nil
}

// maxRouterVMs bounds the VMs of one instantiation.
const maxRouterVMs = 64

// vrouterInstantiate is one.vrouter.instantiate(router, VMs, VM template, name,
// hold, extra): the router's NICs become those of its VMs. %i in the name is
// the number of the VM.
func vrouterInstantiate(r *request) answer {
	router, refused := vrouters.find(r, r.int(1), manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	from, refused := templates.find(r, r.int(3), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	if !from.isRouter() {
		return refusedAnswer(refuse(opennebula.CodeAction, "Only virtual router templates are allowed"))
	}
	extra, err := parseTemplate(r.text(6))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	count := r.int(2)
	if count > maxRouterVMs {
		return refusedAnswer(refuse(opennebula.CodeAction, "The simulator makes at most "+itoa(maxRouterVMs)+" VMs at a time."))
	}
	extra = extra.without("NIC", "VROUTER").with(router.Template.vectors("NIC")...).
		with(single("VROUTER_ID", itoa(router.ID)))
	for i := 0; i < count; i++ {
		name := strings.ReplaceAll(r.text(4), "%i", itoa(i))
		made, refused := r.tx.newVM(r.who, order{from: from, name: name, hold: r.flag(5), extra: extra, router: router})
		if refused != nil {
			return refusedAnswer(refused)
		}
		router.VMs = append(router.VMs, made.ID)
	}
	router.Template = router.Template.set("TEMPLATE_ID", itoa(from.ID))
	vrouters.save(r.tx, router)
	return idAnswer(router.ID)
}

// vrouterChown gives the router's VMs to its new owner, too.
func vrouterChown(r *request, router *vrouter) *refusal {
	if refused := r.cloud.chown(r.who, &router.object, r.int(2), r.int(3)); refused != nil {
		return refused
	}
	for _, id := range router.VMs {
		if v := r.cloud.vms[id]; v != nil {
			v.UID, v.GID, v.UName, v.GName = router.UID, router.GID, router.UName, router.GName
			r.tx.keepVM(v)
		}
	}
	return nil
}

// vrouterDelete removes a router and terminates its VMs, in whatever state.
func vrouterDelete(r *request) answer {
	found, refused := vrouters.find(r, r.int(1), manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	vrouters.remove(r, found)
	for _, id := range found.VMs {
		v := r.cloud.vms[id]
		if v == nil || v.State == vmDone {
			continue
		}
		if refused := r.tx.act(r.who, "terminate-hard", v); refused != nil {
			_ = r.tx.recoverVM(v, recoverDelete) // only a VM that is gone refuses it
		}
	}
	for _, nic := range found.Template.vectors("NIC") {
		r.cloud.releaseNIC(nic, holder{holderVRouter, found.ID})
	}
	return idAnswer(found.ID)
}
