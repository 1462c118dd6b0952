package flow

import (
	"testing"
	"time"
)

func TestHealsOfTheLastHourAreCounted(t *testing.T) {
	now := time.Now()
	state := State{Heals: map[string]Heal{"web": {Done: []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Minute), now}}}}
	if got := state.HealedLately("web", now); got != 2 {
		t.Errorf("%d VMs were healed within the last hour, want 2", got)
	}
	if got := state.HealedLately("db", now); got != 0 {
		t.Errorf("%d VMs were healed of a role without heal", got)
	}
}
