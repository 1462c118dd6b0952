package sim

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// order is what a new VM is made from.
type order struct {
	from   *vmTemplate
	name   string
	hold   bool
	extra  template
	router *vrouter
}

// templateInstantiate is one.template.instantiate(id, name, hold, extra,
// persistent).
func templateInstantiate(r *request) answer {
	from, refused := templates.find(r, r.int(1), use)
	if refused == nil && from.isRouter() {
		refused = refuse(opennebula.CodeAction, "Virtual router templates cannot be instantiated")
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	extra, err := parseTemplate(r.text(4))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	made, refused := r.tx.newVM(r.who, order{from: from, name: r.text(2), hold: r.flag(3), extra: extra})
	if refused != nil {
		return refusedAnswer(refused)
	}
	return idAnswer(made.ID)
}

// newVM makes a VM with its addresses; its first event is PENDING or HOLD.
func (t *tx) newVM(who identity, o order) (*vm, *refusal) {
	v, refused := t.makeVM(who, o)
	if refused == nil {
		t.enter(v, v.status())
	}
	return v, refused
}

// makeVM makes a VM that nobody has heard of yet.
func (t *tx) makeVM(who identity, o order) (*vm, *refusal) {
	merged := o.from.Template.merged(o.extra)
	if reason := unfit(vmName(o, t.cloud.next[kindVM]), merged); reason != "" {
		return nil, o.notAllocated(reason)
	}
	own, forUser := splitTemplate(merged)
	id := t.cloud.next[kindVM]
	nics, refused := t.leaseNICs(who, id, own.vectors("NIC"), o)
	if refused != nil {
		return nil, refused
	}
	t.nextID(kindVM)
	v := &vm{
		object: t.cloud.owned(id, vmName(o, id), who), Start: now(), Host: -1, Wanted: -1,
		State: vmPending,
	}
	v.setUserTemplate(forUser)
	if o.hold {
		own = own.set("SUBMIT_ON_HOLD", "YES")
		v.State = vmHold
	}
	v.setTemplate(completedTemplate(own, nics, v.ID, o.from.ID, v.variables(own)))
	t.cloud.vms[id] = v
	return v, nil
}

// notAllocated is oned's refusal of a new VM. It names the kind of object that was called.
func (o order) notAllocated(reason string) *refusal {
	what := templateWords
	if o.router != nil {
		what = "virtual router"
	}
	return refuse(opennebula.CodeAllocate, "Error allocating a new "+what+". "+reason)
}

// unfit is oned's reason against a new VM, "" where there is none.
func unfit(name string, merged template) string {
	if reason := badName(name); reason != "" {
		return reason
	}
	if merged.number("MEMORY", 0) <= 0 {
		return "MEMORY attribute must be a positive integer value."
	}
	if cores, err := strconv.ParseFloat(merged.text("CPU"), 64); merged.has("CPU") && (err != nil || cores <= 0) {
		return "CPU attribute must be a positive float or integer value."
	}
	if merged.has("VCPU") && merged.number("VCPU", 0) <= 0 {
		return "VCPU attribute must be a positive integer value."
	}
	if merged.breaksXML() {
		return "Error transforming the VM to XML."
	}
	return unreadable(merged)
}

func vmName(o order, id int) string {
	if o.name == "" {
		return fmt.Sprintf("%s-%d", o.from.Name, id)
	}
	return strings.ReplaceAll(o.name, "%i", itoa(id))
}

// ownAttributes are what oned itself reads in a VM's template. Everything else
// is the user's and goes to USER_TEMPLATE.
var ownAttributes = stringSet(
	"CPU", "VCPU", "MEMORY", "MEMORY_MAX", "MEMORY_SLOTS", "VCPU_MAX", "OS", "DISK", "NIC", "NIC_ALIAS",
	"NIC_DEFAULT", "PCI", "GRAPHICS", "VIDEO", "CONTEXT", "FEATURES", "RAW", "INPUT", "CPU_MODEL", "TOPOLOGY",
	"NUMA_NODE", "VMGROUP", "SNAPSHOT", "BACKUP_CONFIG", "TPM", "SUBMIT_ON_HOLD", "VROUTER_ID", "CPU_COST",
	"MEMORY_COST", "DISK_COST", "EMULATOR", "SECURITY_GROUP_RULE", "SPICE_OPTIONS",
)

// droppedAttributes belong to the template's object and not to its VMs.
var droppedAttributes = stringSet("NAME", "TEMPLATE_ID", "VMID", "SCHED_ACTION")

func splitTemplate(merged template) (own, forUser template) {
	for _, a := range merged {
		switch {
		case droppedAttributes[a.Name]:
		case ownAttributes[a.Name]:
			own = append(own, a)
		default:
			forUser = append(forUser, a)
		}
	}
	return own, forUser
}

// leaseNICs turns a template's NICs into those of a VM. On a refusal nothing
// stays taken.
func (t *tx) leaseNICs(who identity, vmID int, wanted []attribute, o order) ([]attribute, *refusal) {
	var made []attribute
	for i, nic := range wanted {
		full, refused := t.leaseNIC(who, vmID, i, nic.inner(), o)
		if refused != nil {
			for _, earlier := range made {
				t.cloud.releaseNIC(earlier, holder{holderVM, vmID})
			}
			return nil, refused
		}
		made = append(made, full)
	}
	return made, nil
}

func (t *tx) leaseNIC(who identity, vmID, index int, nic template, o order) (attribute, *refusal) {
	n, reason := t.cloud.networkOf(who, nic)
	if reason != "" {
		return attribute{}, o.notAllocated(reason)
	}
	if refused := who.authorize(use, "NET", &n.object); refused != nil && o.router == nil {
		return attribute{}, refused
	}
	given, reason := n.take(holder{holderVM, vmID}, nic.text("IP"))
	if reason != "" {
		return attribute{}, o.notAllocated(reason)
	}
	full := nic.merged(template{
		single("AR_ID", itoa(given.rangeID)), single("BRIDGE", n.Template.text("BRIDGE")),
		single("BRIDGE_TYPE", "linux"), single("CLUSTER_ID", "0"), single("IP", given.ip), single("MAC", given.mac),
		single("NAME", "NIC"+itoa(index)), single("NETWORK", n.Name), single("NETWORK_ID", itoa(n.ID)),
		single("NIC_ID", itoa(index)), single("SECURITY_GROUPS", "0"),
		single("TARGET", fmt.Sprintf("one-%d-%d", vmID, index)), single("VN_MAD", n.Template.text("VN_MAD")),
	})
	return attribute{Name: "NIC", Vector: full, IsVector: true}, nil
}

// completedTemplate adds what oned adds to a VM's template.
func completedTemplate(own template, nics []attribute, id, from int, variables template) template {
	osAttribute := template{}
	if given := own.vectors("OS"); len(given) > 0 {
		osAttribute = given[0].inner()
	}
	osAttribute = osAttribute.set("MACHINE", "q35").set("UUID", newUUID())
	context := own.vectors("CONTEXT")
	full := own.without("NIC", "OS", "CONTEXT").with(nics...).with(
		single("AUTOMATIC_REQUIREMENTS", `(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED)`),
		attribute{Name: "OS", Vector: osAttribute, IsVector: true},
		single("TEMPLATE_ID", itoa(from)), single("VMID", itoa(id)),
	)
	if len(nics) > 0 {
		full = full.with(
			single("AUTOMATIC_DS_REQUIREMENTS", `("CLUSTERS/ID" @> 0)`),
			single("AUTOMATIC_NIC_REQUIREMENTS", `("CLUSTERS/ID" @> 0)`),
			securityRule("OUTBOUND"), securityRule("INBOUND"),
		)
	}
	if len(context) > 0 {
		disks := len(own.vectors("DISK"))
		all := vmContext(joinedContext(context, variables), nics, disks)
		full = full.with(attribute{Name: "CONTEXT", Vector: all, IsVector: true})
	}
	return full
}

// joinedContext makes one of several CONTEXTs, the later ones winning, and puts
// the values of variables in.
func joinedContext(contexts []attribute, variables template) template {
	var joined template
	for _, one := range contexts {
		joined = joined.merged(one.inner())
	}
	for i, a := range joined {
		joined[i].Value, _ = withVariables(a.Value, variables.text)
	}
	return joined
}

func securityRule(direction string) attribute {
	return vector("SECURITY_GROUP_RULE", single("PROTOCOL", "ALL"), single("RULE_TYPE", direction),
		single("SECURITY_GROUP_ID", "0"), single("SECURITY_GROUP_NAME", "default"))
}

// contextVariables are the ETHn_ variables of a NIC's context, in order; IP
// and MAC have values here and the rest stay empty.
var contextVariables = []string{
	"DNS", "EXTERNAL", "GATEWAY", "IP", "IP6", "IP6_GATEWAY", "IP6_METHOD", "IP6_METRIC", "IP6_PREFIX_LENGTH",
	"IP6_ULA", "MAC", "MASK", "METHOD", "METRIC", "MTU", "NETWORK", "ROUTES", "SEARCH_DOMAIN", "VLAN_ID",
	"VROUTER_IP", "VROUTER_IP6", "VROUTER_MANAGEMENT",
}

// vmContext is a VM's CONTEXT: the user's, and its NICs' where NETWORK=YES.
func vmContext(context template, nics []attribute, disks int) template {
	full := context.set("DISK_ID", itoa(disks)).set("TARGET", "sda")
	if !strings.EqualFold(context.text("NETWORK"), "YES") {
		return full
	}
	for i, nic := range nics {
		for _, name := range contextVariables {
			given := ""
			if name == "IP" || name == "MAC" || name == "VROUTER_IP" {
				given = nic.inner().text(name)
			}
			full = append(full, single(fmt.Sprintf("ETH%d_%s", i, name), given))
		}
	}
	sortAttributes(full)
	return full
}

func newUUID() string {
	raw := randomHex(16)
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", raw[:8], raw[8:12], raw[13:16], raw[17:20], raw[20:32])
}

func stringSet(items ...string) map[string]bool {
	set := make(map[string]bool, len(items))
	for _, item := range items {
		set[item] = true
	}
	return set
}
