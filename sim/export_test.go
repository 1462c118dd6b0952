package sim

// HeldCalls is how many calls wait for their delay's end, past all that can
// refuse them before they are carried out.
func (s *Sim) HeldCalls() int { return int(s.held.Load()) }
