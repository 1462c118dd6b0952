package sim

import (
	"maps"
	"slices"
)

// HeldCalls is how many calls wait for their delay's end, past all that can
// refuse them before they are carried out.
func (s *Sim) HeldCalls() int { return int(s.held.Load()) }

// ControlRoutes are the patterns of the control API's routes.
func (s *Sim) ControlRoutes() []string {
	return slices.Sorted(maps.Keys((&controlAPI{s}).routes()))
}
