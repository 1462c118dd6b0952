package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// networkPattern is how a service asks for a network:
// "M|network|Public network| |id:0". The last field may be left open, to be
// chosen when the service is instantiated.
var networkPattern = regexp.MustCompile(`^[MO]\|network\|[^|]*\|[^|]*\|\s*(?:(id|template_id|reserve_from):(\d*)(.*))?$`)

// checkNetworks holds the shapes of networks and networks_values.
func checkNetworks(f *findings, body Body) {
	var networks map[string]string
	if len(body.Networks) > 0 && json.Unmarshal(body.Networks, &networks) != nil {
		f.add("networks", "must be an object of texts such as {\"Public\": \"M|network|Public| |id:0\"}")
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if !networkPattern.MatchString(strings.TrimSpace(networks[name])) {
			f.add("networks."+name, "is %q; it must look like \"M|network|description| |id:0\", with id, template_id or reserve_from last", shown(networks[name]))
		}
		if err := CheckAddresses(networks[name]); err != nil {
			f.add("networks."+name, "%v", err)
		}
		if proposed, _ := proposal(networks[name]); proposed != nil {
			if wrong := wrongNetworkName(name, proposed); wrong != "" {
				f.add("networks", "%s", wrong)
			}
			if err := checkTemplateText(textOf(proposed["extra"])); err != nil {
				f.add("networks."+name, "%v", err)
			}
		}
	}
	if _, err := readNetworkValues(body.NetworksValues, body.State != nil); err != nil {
		f.add("networks_values", "%v", err)
	}
}

// networkValue is one element of networks_values: what is to be had for one
// network.
type networkValue map[string]object

// readNetworkValues reads networks_values and holds its shape. In a running
// service's, a network that was made has its id beside what it was made from.
func readNetworkValues(text json.RawMessage, running bool) ([]networkValue, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var values []networkValue
	if json.Unmarshal(text, &values) != nil {
		return nil, fmt.Errorf("must be an array such as [{\"Public\": {\"id\": \"0\"}}]")
	}
	for i, value := range values {
		if len(value) != 1 {
			return nil, fmt.Errorf("must have one network in each element; element %d has %d", i, len(value))
		}
		for name, choice := range value {
			// In a running service's it is refused when the network is to be made.
			if err := CheckAddresses(textOf(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("asks for too much for network %q: %w", name, err)
			}
			if err := checkTemplateText(textOf(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("has an \"extra\" for network %q that %w", name, err)
			}
			if wrong := wrongNetworkName(name, choice); wrong != "" && !running {
				return nil, errors.New(wrong)
			}
			_, made := choice["id"]
			fromOne := choice.hasOne("template_id", "reserve_from")
			if !choice.hasOne("id", "template_id", "reserve_from") && (!running || !made || !fromOne) {
				return nil, fmt.Errorf("must say one of id, template_id and reserve_from for network %q", name)
			}
		}
	}
	return values, nil
}

// wrongNetworkName is why a network cannot be made, which is called by the name at oned too.
func wrongNetworkName(name string, choice object) string {
	if !choice.hasOne(string(FromTemplate), string(FromReservation)) || !strings.ContainsAny(name, "&|:\\\";/'#{}$<>\n\r") {
		return ""
	}
	return fmt.Sprintf("has the name %q: oned makes no network whose name has one of & | : \\ \" ; / ' # { } $ < >", shown(name))
}

// sizePattern is how a template's text asks for a number of addresses.
var sizePattern = regexp.MustCompile(`(?i)\bSIZE\s*=\s*["']?\s*\+?(\d+)`)

// CheckAddresses returns an error where the text from which a network is made asks for
// more than MaxAddresses.
func CheckAddresses(text string) error {
	for _, found := range sizePattern.FindAllStringSubmatch(text, -1) {
		if count, err := strconv.ParseUint(found[1], 10, 63); err != nil || count > MaxAddresses {
			return fmt.Errorf("SIZE=%s is more than %d addresses", shown(found[1]), MaxAddresses)
		}
	}
	return nil
}

// checkReservations holds that who reserves addresses asks for a number of them: oned takes none
// for granted.
func checkReservations(f *findings, values []networkValue) {
	for _, value := range values {
		for name, choice := range value {
			if _, reserves := choice[string(FromReservation)]; reserves && !asksForAddresses(textOf(choice["extra"])) {
				f.add("networks_values", "reserves no addresses for network %q: its \"extra\" must have a SIZE such as SIZE=2", name)
			}
		}
	}
}

// asksForAddresses reports whether the text has a SIZE above 0.
func asksForAddresses(text string) bool {
	for _, found := range sizePattern.FindAllStringSubmatch(text, -1) {
		if strings.Trim(found[1], "0") != "" {
			return true
		}
	}
	return false
}

// hasOne reports whether the object has exactly one of the attributes.
func (o object) hasOne(attributes ...string) bool {
	count := 0
	for _, attribute := range attributes {
		if _, has := o[attribute]; has {
			count++
		}
	}
	return count == 1
}
