package sim_test

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/sim"
)

// A test starts a zone, breaks what it wants to see broken, and stops it.
func Example() {
	zone, err := sim.New(sim.Config{BootDelay: sim.NoDelay})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := zone.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer zone.Stop(ctx)
	zone.FailBoots(1)
	fmt.Println(zone.LoseVM(7))
	fmt.Println(zone.State().Users)
	// Output:
	// lose VM 7: there is none that has not ended
	// [oneadmin serveradmin alice]
}
