package sim_test

import (
	"path/filepath"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

// BenchmarkInstantiate is one.template.instantiate over HTTP, with the boot of
// the VM behind it.
func BenchmarkInstantiate(b *testing.B) {
	for name, file := range map[string]string{"memory": "", "state file": "zone.db"} {
		b.Run(name, func(b *testing.B) {
			config := sim.Config{BootDelay: sim.NoDelay}
			if file != "" {
				config.StateFile = filepath.Join(b.TempDir(), file)
			}
			s := start(b, config)
			for b.Loop() {
				instantiate(b, s, "vm", serviceText)
			}
		})
	}
}

// BenchmarkInfo is one.vm.info over HTTP.
func BenchmarkInfo(b *testing.B) {
	s := start(b, sim.Config{BootDelay: sim.NoDelay})
	id := runningVM(b, s)
	for b.Loop() {
		must(b, s, "one.vm.info", oneadmin, id, false)
	}
}

// BenchmarkPool is one.vmpool.infoextended of 1,000 VMs.
func BenchmarkPool(b *testing.B) {
	s := start(b, sim.Config{BootDelay: sim.NoDelay})
	parallel(4, 1000, func(int) { instantiate(b, s, "vm", serviceText) })
	for b.Loop() {
		must(b, s, "one.vmpool.infoextended", oneadmin, -2, -1, -1, -1, "")
	}
}
