package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// storedTemplate is a template of VMs or of virtual networks.
type storedTemplate struct {
	object
	Registered int64             `json:"registered"`
	Template   template.Template `json:"template"`
}

type templateClass = class[storedTemplate, *storedTemplate]

var (
	templates   = templateClass{kind: kindTemplate, words: "virtual machine template", label: "TEMPLATE", element: "VMTEMPLATE"}
	vnTemplates = templateClass{kind: kindVNTemplate, words: "virtual network template", label: "VNTEMPLATE", element: "VNTEMPLATE"}
)

func (s *storedTemplate) show(w *xmlrpc.Writer) {
	s.headAndPermissions(w)
	w.Fields("REGTIME", s.Registered)
	s.Template.Write(w, "TEMPLATE")
}

// allocateTemplate returns the call allocate(template).
func allocateTemplate(c *templateClass, prefix string) func(r *request) any {
	return func(r *request) any {
		return c.allocate(r, prefix, r.template(1), func(head object, content template.Template) *storedTemplate {
			return &storedTemplate{object: head, Registered: now(), Template: content}
		})
	}
}

func templateClone(r *request, source *storedTemplate) any {
	refuseFor(opennebula.CodeInternal, templates.newName(r, r.text(2)))
	return templates.save(r.tx, &storedTemplate{
		object: r.cloud.owned(r.tx.nextID(kindTemplate), r.text(2), r.who), Registered: now(),
		Template: source.Template.Set("NAME", r.text(2)),
	})
}

// update is the call update(id, template, mode): 0 replaces it, 1 merges.
func (r *request) update(t *template.Template) {
	mode := r.int(3)
	refuseIf(mode < 0 || mode > 1, opennebula.CodeXMLRPC, "Wrong update type")
	parsed := r.parsed(2, opennebula.CodeInternal, "Cannot update template. ")
	if mode == 1 {
		parsed = t.Merged(parsed)
	}
	*t = parsed
}

// vnTemplateInstantiate is one.vntemplate.instantiate(id, name, extra).
func vnTemplateInstantiate(r *request, from *storedTemplate) any {
	merged, name := from.Template.Merged(r.template(3)), cmp.Or(r.text(2), from.Name)
	if reason := networks.newName(r, name); reason != "" {
		refuse(opennebula.CodeAllocate, fmt.Sprintf("Error allocating a new %s. %s", vnTemplates.words, reason))
	}
	id := r.tx.nextID(kindNetwork)
	made := &network{
		object: r.cloud.owned(id, name, r.who), Parent: -1, FromID: from.ID,
		Template: networkDefaults("onebr" + itoa(id)).Merged(merged.Without("AR", "NAME", "TEMPLATE_ID")),
	}
	for i, ar := range merged.Vectors("AR") {
		ip, ok := parseIP(ar.Vector.Text("IP"))
		size := ar.Vector.Number("SIZE", 0)
		if ok && size > 0 && size <= 1<<24 { // oned makes the network without invalid ranges
			made.Ranges = append(made.Ranges, addressRange{ID: i, IP: ip, MAC: macPrefix | uint64(ip), Size: size, Parent: -1})
		}
	}
	return addNetwork(r.tx, made)
}

// order has the inputs of a new VM.
type order struct {
	from   *storedTemplate
	name   string
	hold   bool
	extra  template.Template
	router *vrouter
}

// templateInstantiate is one.template.instantiate(id, name, hold, extra, persistent).
func templateInstantiate(r *request, from *storedTemplate) any {
	refuseIf(from.Template.Is("VROUTER"), opennebula.CodeAction, "Virtual router templates cannot be instantiated")
	made := r.tx.makeVM(r.who, order{from: from, name: r.text(2), hold: r.int(3) == 1, extra: r.template(4)})
	r.tx.enter(made, made.status())
	return made.ID
}

// makeVM makes a VM with its addresses and without an event: the first one is that of entering its state.
func (t *tx) makeVM(who identity, o order) *vm {
	id := t.cloud.next[kindVM]
	name := cmp.Or(strings.ReplaceAll(o.name, "%i", itoa(id)), fmt.Sprintf("%s-%d", o.from.Name, id))
	merged := o.from.Template.Merged(o.extra)
	if reason := unfit(name, merged); reason != "" {
		o.notAllocated(reason)
	}
	if as := t.cloud.users[merged.Number(one.AsUser, 0)]; as != nil && as.ID > 0 && who.isAdmin() {
		who.user = as
	}
	var own, forUser template.Template
	for _, a := range merged {
		switch {
		case slices.Contains(droppedAttributes, a.Name):
		case slices.Contains(ownAttributes, a.Name):
			own = append(own, a)
		default:
			forUser = append(forUser, a)
		}
	}
	nics := t.cloud.eachNIC(own, holder{holderVM, id}, func(i int, nic template.Template) template.Attribute { return t.leaseNIC(who, id, i, nic, o) })
	t.nextID(kindVM)
	v := &vm{object: t.cloud.owned(id, name, who), Start: now(), Host: -1, State: one.VMPending, UserTemplate: forUser}
	if o.hold {
		own = own.Set("SUBMIT_ON_HOLD", "YES")
		v.State = one.VMHold
	}
	// The variables $NAME of a context: the VM's head and its own and the user's single attributes.
	variables := template.Of(
		"NAME", v.Name, "VMID", itoa(id), "UID", itoa(v.UID), "UNAME", v.UName, "GID", itoa(v.GID), "GNAME", v.GName,
	).With(own...).With(forUser...)
	v.Template = completedTemplate(own, nics, id, o.from.ID, variables)
	t.cloud.vms[id] = v
	return v
}

// eachNIC returns fill's result for each NIC of a template. If one is refused, those before it release their addresses.
func (c *cloud) eachNIC(of template.Template, h holder, fill func(index int, nic template.Template) template.Attribute) (filled []template.Attribute) {
	refused := attempt(func() {
		for i, nic := range of.Vectors("NIC") {
			filled = append(filled, fill(i, nic.Vector))
		}
	})
	if refused != nil {
		for _, nic := range filled {
			c.releaseNIC(nic, h)
		}
		panic(refused)
	}
	return filled
}

// notAllocated refuses a new VM. It names the kind of object that was called.
func (o order) notAllocated(reason string) {
	what := templates.words
	if o.router != nil {
		what = vrouters.words
	}
	refuse(opennebula.CodeAllocate, "Error allocating a new "+what+". "+reason)
}

// unfit returns oned's reason for refusing a new VM, "" if there is none.
func unfit(name string, merged template.Template) string {
	if reason := badName(name); reason != "" {
		return reason
	}
	if merged.Number("MEMORY", 0) <= 0 {
		return "MEMORY attribute must be a positive integer value."
	}
	if cores, err := strconv.ParseFloat(merged.Text("CPU"), 64); merged.Has("CPU") && (err != nil || cores <= 0) {
		return "CPU attribute must be a positive float or integer value."
	}
	if merged.Has("VCPU") && merged.Number("VCPU", 0) <= 0 {
		return "VCPU attribute must be a positive integer value."
	}
	if merged.BreaksXML() {
		return "Error transforming the VM to XML."
	}
	return merged.Unreadable()
}

// ownAttributes are the attributes of a VM's template that oned itself reads. All others are the user's and go to
// USER_TEMPLATE.
var ownAttributes = []string{
	"CPU", "VCPU", "MEMORY", "MEMORY_MAX", "MEMORY_SLOTS", "VCPU_MAX", "OS", "DISK", "NIC", "NIC_ALIAS",
	"NIC_DEFAULT", "PCI", "GRAPHICS", "VIDEO", "CONTEXT", "FEATURES", "RAW", "INPUT", "CPU_MODEL", "TOPOLOGY",
	"NUMA_NODE", "VMGROUP", "SNAPSHOT", "BACKUP_CONFIG", "TPM", "SUBMIT_ON_HOLD", "VROUTER_ID", "CPU_COST",
	"MEMORY_COST", "DISK_COST", "EMULATOR", "SECURITY_GROUP_RULE", "SPICE_OPTIONS",
}

// droppedAttributes belong to the template's object and not to its VMs.
var droppedAttributes = []string{"NAME", "TEMPLATE_ID", "VMID", "SCHED_ACTION", one.AsUser}

// leaseNIC turns a NIC of a template into one of a VM, with an address.
func (t *tx) leaseNIC(who identity, vmID, index int, nic template.Template, o order) template.Attribute {
	n := t.cloud.networkOf(who, nic, o.notAllocated)
	if o.router == nil {
		who.authorize(use, networks.label, &n.object)
	}
	given := n.allocate(holder{holderVM, vmID}, nic.Text("IP"), "", o.notAllocated)
	return template.Vector("NIC", nic.Merged(given).Merged(template.Of(
		"BRIDGE", n.Template.Text("BRIDGE"), "BRIDGE_TYPE", "linux", "CLUSTER_ID", "0", "NAME", "NIC"+itoa(index),
		"NETWORK", n.Name, "NETWORK_ID", itoa(n.ID), "NIC_ID", itoa(index), "SECURITY_GROUPS", "0",
		"TARGET", fmt.Sprintf("one-%d-%d", vmID, index), "VN_MAD", n.Template.Text("VN_MAD"),
	))...)
}

// completedTemplate adds oned's own attributes to a VM's template.
func completedTemplate(own template.Template, nics []template.Attribute, id, from int, variables template.Template) template.Template {
	var osAttribute template.Template
	if given := own.Vectors("OS"); len(given) > 0 {
		osAttribute = given[0].Vector
	}
	raw := randomHex(16)
	uuid := fmt.Sprintf("%s-%s-4%s-8%s-%s", raw[:8], raw[8:12], raw[13:16], raw[17:20], raw[20:32])
	added := append(slices.Clone(nics), template.Vector("OS", osAttribute.Set("MACHINE", "q35").Set("UUID", uuid)...))
	added = append(added, template.Of(
		"AUTOMATIC_REQUIREMENTS", `(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED)`, "TEMPLATE_ID", itoa(from), "VMID", itoa(id))...)
	if len(nics) > 0 {
		const cluster = `("CLUSTERS/ID" @> 0)`
		added = append(added, template.Of("AUTOMATIC_DS_REQUIREMENTS", cluster, "AUTOMATIC_NIC_REQUIREMENTS", cluster)...)
		for _, direction := range []string{"OUTBOUND", "INBOUND"} {
			added = append(added, template.Vector("SECURITY_GROUP_RULE", template.Of(
				"PROTOCOL", "ALL", "RULE_TYPE", direction, "SECURITY_GROUP_ID", "0", "SECURITY_GROUP_NAME", "default")...))
		}
	}
	full, contexts := own.Without("NIC", "OS", "CONTEXT"), own.Vectors("CONTEXT")
	if len(contexts) == 0 {
		return full.With(added...)
	}
	var joined template.Template // of several CONTEXTs the later ones win
	for _, one := range contexts {
		joined = joined.Merged(one.Vector)
	}
	for i, a := range joined {
		joined[i].Value, _ = template.Expand(a.Value, variables.Text)
	}
	context := joined.Set("DISK_ID", itoa(len(own.Vectors("DISK")))).Set("TARGET", "sda")
	if !joined.Is("NETWORK") {
		nics = nil
	}
	for i, nic := range nics {
		for _, name := range contextVariables {
			given := ""
			if name == "IP" || name == "MAC" || name == "VROUTER_IP" {
				given = nic.Vector.Text(name)
			}
			context = append(context, template.Attribute{Name: fmt.Sprintf("ETH%d_%s", i, name), Value: given})
		}
	}
	return full.With(append(added, template.Vector("CONTEXT", context...))...)
}

// contextVariables are the ETHn_ variables of each NIC in the CONTEXT of a VM with NETWORK=YES; IP and MAC have values here
// and the others stay empty.
var contextVariables = []string{
	"DNS", "EXTERNAL", "GATEWAY", "IP", "IP6", "IP6_GATEWAY", "IP6_METHOD", "IP6_METRIC", "IP6_PREFIX_LENGTH",
	"IP6_ULA", "MAC", "MASK", "METHOD", "METRIC", "MTU", "NETWORK", "ROUTES", "SEARCH_DOMAIN", "VLAN_ID",
	"VROUTER_IP", "VROUTER_IP6", "VROUTER_MANAGEMENT",
}
