package template

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// networkPattern is how a service asks for a network:
// "M|network|Public network| |id:0". The last field may be left open, to be
// chosen when the service is instantiated.
var networkPattern = regexp.MustCompile(`^[MO]\|network\|[^|]*\|[^|]*\|\s*(?:(id|template_id|reserve_from):(\d*)(.*))?$`)

// checkNetworks holds the shapes of networks and networks_values.
func checkNetworks(f *findings, body spec.Body) {
	var networks map[string]string
	if len(body.Networks) > 0 && json.Unmarshal(body.Networks, &networks) != nil {
		f.add("networks", "must be an object of strings such as {\"Public\": \"M|network|Public| |id:0\"}")
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if !networkPattern.MatchString(strings.TrimSpace(networks[name])) {
			f.add("networks."+name, "is %q; it must look like \"M|network|description| |id:0\", with id, template_id or reserve_from last", raw.Shown(networks[name]))
		}
		if err := spec.CheckAddresses(networks[name]); err != nil {
			f.add("networks."+name, "%v", err)
		}
		if proposed, _ := proposal(networks[name]); proposed != nil {
			if wrong := spec.WrongNetworkName(name, proposed); wrong != "" {
				f.add("networks", "%s", wrong)
			}
			if err := one.CheckTemplate(raw.Text(proposed["extra"])); err != nil {
				f.add("networks."+name, "%v", err)
			}
		}
	}
	if _, err := spec.ReadNetworkValues(body.NetworksValues, body.State != nil); err != nil {
		f.add("networks_values", "%v", err)
	}
}

// checkReservations holds that who reserves addresses asks for a number of them: oned takes none
// for granted.
func checkReservations(f *findings, values []spec.NetworkValue) {
	for _, value := range values {
		for name, choice := range value {
			if _, reserves := choice[string(spec.FromReservation)]; reserves && !spec.AsksForAddresses(raw.Text(choice["extra"])) {
				f.add("networks_values", "reserves no addresses for network %q: its \"extra\" must have a SIZE such as SIZE=2", name)
			}
		}
	}
}
