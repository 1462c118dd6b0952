package sim

import (
	"testing"

	"github.com/flowjet/flowjet/sim/internal/clock"
)

// TestDelayedEventsAreBounded: those beyond the bound are lost, and there is room again once the others are published.
func TestDelayedEventsAreBounded(t *testing.T) {
	h := &hooks{clock: clock.New()}
	h.publish(make([]event, maxDelayed+2))
	if lost := h.Events().Lost; lost != 2 {
		t.Errorf("%d events were lost, want 2", lost)
	}
	published := make(chan struct{})
	h.clock.After(0, func() { close(published) })
	h.clock.Start()
	defer h.clock.Stop()
	<-published
	if h.delayed != 0 {
		t.Errorf("%d events wait after all were published", h.delayed)
	}
}
