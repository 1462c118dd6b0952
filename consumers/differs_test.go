package consumers

import (
	"context"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// TestDatabaseIsNotTakenForAnotherWhileOnedDoesNotAnswer: a leader may have lost the newest VM, and the others be slow.
func TestDatabaseIsNotTakenForAnotherWhileOnedDoesNotAnswer(t *testing.T) {
	zone, err := sim.New(sim.Config{})
	if err == nil {
		err = zone.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		if err := zone.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	credentials, err := opennebula.ParseCredentials(zone.ServerCredentials())
	if err != nil {
		t.Fatal(err)
	}
	oned := opennebula.NewClient(opennebula.Config{Endpoint: zone.Endpoint(), Credentials: credentials})
	t.Cleanup(oned.Close)
	d := &database{oned: oned}
	if err := zone.DropAnswer("one.vm.info", 1); err != nil {
		t.Fatal(err)
	}
	if reason, err := d.differs(t.Context(), pipeline.OnedMark{VM: 4}, 4, 3, ""); reason != "" || err == nil {
		t.Errorf("oned has not answered whether it has the VM: %q, %v", reason, err)
	}
	if reason, err := d.differs(t.Context(), pipeline.OnedMark{VM: 4}, 4, 3, ""); reason == "" || err != nil {
		t.Errorf("oned has answered that it lacks the VM: %q, %v", reason, err)
	}
}
