package template

import (
	"encoding/json"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkRoleNames finds names that two roles share.
func checkRoleNames(f *findings, roles []spec.Role) {
	first := map[string]int{}
	for i, role := range roles {
		if role.Name == "" {
			continue
		}
		if earlier, taken := first[role.Name]; taken {
			f.add(rolePathOf(i, "name"), "is also the name of role number %d; every role needs a unique name", earlier)
			continue
		}
		first[role.Name] = i
	}
}

// checkLimits holds min_vms <= cardinality <= max_vms.
func checkLimits(f *findings, path string, role spec.Role) {
	if role.MinVMs != nil && role.MaxVMs != nil && *role.MinVMs > *role.MaxVMs {
		f.add(path+".min_vms", "is %d, more than max_vms %d", *role.MinVMs, *role.MaxVMs)
		return
	}
	if role.MinVMs != nil && role.Cardinality < *role.MinVMs {
		f.add(path+".cardinality", "is %d, less than min_vms %d", role.Cardinality, *role.MinVMs)
	}
	if role.MaxVMs != nil && role.Cardinality > *role.MaxVMs {
		f.add(path+".cardinality", "is %d, more than max_vms %d", role.Cardinality, *role.MaxVMs)
	}
	if (raw.Filled(role.ElasticityPolicies) || raw.Filled(role.ScheduledPolicies)) && (role.MinVMs == nil || role.MaxVMs == nil) {
		f.add(path, "has policies, so it needs both min_vms and max_vms")
	}
}

// checkRouter holds the rule for virtual routers of several VMs: they share
// their networks through a floating IP.
func checkRouter(f *findings, path string, role spec.Role) {
	if role.Type != spec.RoleTypeVR || role.Cardinality < 2 {
		return
	}
	var contents struct {
		NICs oneOrMore `json:"NIC"`
	}
	if json.Unmarshal(role.TemplateContents, &contents) != nil || len(contents.NICs) == 0 {
		return
	}
	for _, nic := range contents.NICs {
		if strings.EqualFold(nic.FloatingIP, "yes") {
			return
		}
	}
	f.add(path+".template_contents", "has NICs and none with FLOATING_IP = \"yes\"; a virtual router of %d VMs needs one", role.Cardinality)
}

// nic is what the rules need of a NIC.
type nic struct {
	FloatingIP string `json:"FLOATING_IP"`
}

// oneOrMore reads what OpenNebula writes as an object when there is one and as
// an array when there are several.
type oneOrMore []nic

// UnmarshalJSON reads either form.
func (o *oneOrMore) UnmarshalJSON(text []byte) error {
	if raw.KindOf(text) == raw.KindArray {
		return json.Unmarshal(text, (*[]nic)(o))
	}
	*o = make([]nic, 1)
	return json.Unmarshal(text, &(*o)[0])
}
