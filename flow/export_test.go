package flow

import "github.com/flowjet/flowjet/flow/spec"

// WaysOut are the commands that lead out of a state, whatever its roles are.
func WaysOut(state spec.ServiceState) []WayOut { return waysOut[state] }
