package flow

import (
	"bytes"
	"encoding/json"
)

// Unasked says, of a service document's text and at a tenth of what reading it
// costs, that the service runs and that time alone will never make it do
// anything: it has no policies and no role with a minimum. Where it is not sure
// it says false.
func Unasked(body []byte) bool {
	for _, hint := range []string{"_policies", "min_vms", `\u`} {
		if bytes.Contains(body, []byte(hint)) {
			return false
		}
	}
	var seen struct {
		State *ServiceState `json:"state"`
	}
	return json.Unmarshal(body, &seen) == nil && seen.State != nil && *seen.State == ServiceRunning
}
