package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
)

// NetworkSource is what a service's own network is made from.
type NetworkSource string

// The sources, as they stand in networks_values.
const (
	// FromTemplate: a network template is instantiated.
	FromTemplate NetworkSource = "template_id"
	// FromReservation: addresses of another network are reserved.
	FromReservation NetworkSource = "reserve_from"
)

// NetworkValue is one element of networks_values: what is to be had for one network.
type NetworkValue map[string]raw.Object

// ReadNetworkValues reads networks_values and holds its shape. In a running
// service's, a network that was made has its id beside what it was made from.
func ReadNetworkValues(text json.RawMessage, running bool) ([]NetworkValue, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var values []NetworkValue
	if json.Unmarshal(text, &values) != nil {
		return nil, fmt.Errorf("must be an array such as [{\"Public\": {\"id\": \"0\"}}]")
	}
	for i, value := range values {
		if len(value) != 1 {
			return nil, fmt.Errorf("must have one network in each element; element %d has %d", i, len(value))
		}
		for name, choice := range value {
			// In a running service's it is refused when the network is to be made.
			if err := CheckAddresses(raw.Text(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("asks for too much for network %q: %w", name, err)
			}
			if err := one.CheckTemplate(raw.Text(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("has an \"extra\" for network %q that %w", name, err)
			}
			if wrong := WrongNetworkName(name, choice); wrong != "" && !running {
				return nil, errors.New(wrong)
			}
			_, made := choice["id"]
			fromOne := choice.HasOne("template_id", "reserve_from")
			if !choice.HasOne("id", "template_id", "reserve_from") && (!running || !made || !fromOne) {
				return nil, fmt.Errorf("must have one of id, template_id and reserve_from for network %q", name)
			}
		}
	}
	return values, nil
}

// WrongNetworkName is why a network cannot be made, which is called by the name at oned too.
func WrongNetworkName(name string, choice raw.Object) string {
	if !choice.HasOne(string(FromTemplate), string(FromReservation)) || !strings.ContainsAny(name, "&|:\\\";/'#{}$<>\n\r") {
		return ""
	}
	return fmt.Sprintf("has the name %q: oned refuses network names with any of & | : \\ \" ; / ' # { } $ < >", raw.Shown(name))
}

// sizePattern is how a template's text asks for a number of addresses.
var sizePattern = regexp.MustCompile(`(?i)\bSIZE\s*=\s*["']?\s*\+?(\d+)`)

// CheckAddresses returns an error where the text from which a network is made asks for more than MaxAddresses.
func CheckAddresses(text string) error {
	for _, found := range sizePattern.FindAllStringSubmatch(text, -1) {
		if count, err := strconv.ParseUint(found[1], 10, 63); err != nil || count > MaxAddresses {
			return fmt.Errorf("SIZE=%s is more than %d addresses", raw.Shown(found[1]), MaxAddresses)
		}
	}
	return nil
}

// AsksForAddresses reports whether the text has a SIZE above 0.
func AsksForAddresses(text string) bool {
	for _, found := range sizePattern.FindAllStringSubmatch(text, -1) {
		if strings.Trim(found[1], "0") != "" {
			return true
		}
	}
	return false
}

// ChosenNetworks iterates over the networks in networks_values by name; there are none where it cannot be understood.
func ChosenNetworks(values json.RawMessage) iter.Seq2[string, raw.Object] {
	return func(yield func(string, raw.Object) bool) {
		chosen, _ := ReadNetworkValues(values, true)
		for _, value := range chosen {
			for name, choice := range value {
				if !yield(name, choice) {
					return
				}
			}
		}
	}
}

// NetworkIDs are the ids of all networks in networks_values, by name and as they stand there: as a text where a
// user gave it so, as OneFlow answers.
func NetworkIDs(chosen json.RawMessage) map[string]json.RawMessage {
	ids := map[string]json.RawMessage{}
	for name, choice := range ChosenNetworks(chosen) {
		if _, known := raw.Whole(choice["id"]); known {
			ids[name] = choice["id"]
		}
	}
	return ids
}

// OwnNetworks are the ids of the networks that a service has made for itself, as
// its document says; none where it cannot be understood.
func OwnNetworks(body Body) []int {
	var ids []int
	for _, choice := range ChosenNetworks(body.NetworksValues) {
		if id, made := raw.Whole(choice["id"]); made && choice.HasOne(string(FromTemplate), string(FromReservation)) {
			ids = append(ids, id)
		}
	}
	return ids
}
