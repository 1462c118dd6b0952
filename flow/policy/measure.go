package policy

import (
	"math"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/spec"
)

// Measures are what was measured of one service's VMs in one pass of the
// autoscaler.
type Measures struct {
	// At is the pass; policies that were evaluated at it, or later, are not again.
	At time.Time `json:"at"`
	// Until is when it is too late to decide by them.
	Until time.Time `json:"until"`
	// Roles holds, by role and attribute in upper case, the means over the role's
	// running VMs. An attribute that no VM has is missing.
	Roles map[string]map[string]float64 `json:"roles"`
}

// Sample is one running VM's attributes, by name in upper case, each taken from
// the first place that has it: the user template, monitoring, the template, the VM.
type Sample map[string]float64

// MeasuredAttributes are the names, in upper case and each once, of what the elasticity
// policies of a service's roles ask for, by role; nil if no policy can be
// evaluated in the service's state. A document that was written past the API may ask for
// more than MaxMeasured: the rest is not measured.
func MeasuredAttributes(service spec.Service) map[string][]string {
	if state := service.State(); state != spec.ServiceRunning && state != spec.ServiceWarning {
		return nil
	}
	var wanted map[string][]string
	for _, role := range service.Body.Roles {
		var names []string
		for _, each := range Adjustments(role.ElasticityPolicies) {
			if condition, err := expression.Parse(each.Expression); err == nil {
				names = append(names, condition.Attributes()...)
			}
		}
		if names == nil {
			continue
		}
		slices.Sort(names)
		names = slices.Compact(names)
		names = names[:min(len(names), spec.MaxMeasured)]
		if wanted == nil {
			wanted = map[string][]string{}
		}
		wanted[role.Name] = names
	}
	return wanted
}

// Measure takes the means of what the service's policies ask for over its VMs
// for which there are samples: those that run.
func Measure(service spec.Service, samples map[int]Sample, at, until time.Time) Measures {
	measured := Measures{At: at, Until: until, Roles: map[string]map[string]float64{}}
	for role, names := range MeasuredAttributes(service) {
		means, vms := map[string]float64{}, service.RoleNodes(role)
		for _, name := range names {
			if mean, has := meanOf(vms, samples, name); has {
				means[name] = mean
			}
		}
		measured.Roles[role] = means
	}
	return measured
}

// maxMean bounds what is taken for a measurement. A VM's owner writes what he likes into its
// user template: a sum of his figures may be infinite, which JSON does not have.
const maxMean = 1e18

// meanOf is rounded to two digits.
func meanOf(vms []int, samples map[int]Sample, name string) (float64, bool) {
	total, count := 0.0, 0
	for _, vm := range vms {
		if value, has := samples[vm][name]; has {
			total += value
			count++
		}
	}
	if count == 0 {
		return 0, false
	}
	mean := math.Round(total/float64(count)*100) / 100
	if math.IsNaN(mean) || math.Abs(mean) > maxMean {
		return 0, false
	}
	return mean, true
}
