package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
)

const (
	fleet        = 50 // services of two VMs each
	fleetClients = 8
	// instantiateCost is what oned takes for an instantiate, one at a time
	// (measured: 15 ms alone; SQLite serialises them).
	instantiateCost = 15 * time.Millisecond
)

// BenchmarkFleet is the time in which 50 two-role services from 8 clients are
// RUNNING, over a simulated oned with the real one's cost of an instantiate.
// The floor is the same 100 VMs straight at oned.
func BenchmarkFleet(b *testing.B) {
	for b.Loop() {
		floor := straight(b)
		ours := services(b)
		fmt.Printf("%-58s %8s  floor %8s  ratio %.2f\n", "50 two-role services from 8 clients to RUNNING",
			ours.Round(time.Millisecond), floor.Round(time.Millisecond), float64(ours)/float64(floor))
		b.ReportMetric(float64(ours)/float64(floor), "x-floor")
		b.ReportMetric(0, "ns/op")
	}
}

// costly is a stand whose oned takes its time.
func costly(b *testing.B) *stand {
	b.Helper()
	s := newStand(b)
	s.app.Sim().SetCallDelay("one.template.instantiate", instantiateCost)
	s.app.Sim().SetSerialisedWrites(true)
	return s
}

// straight is how long the VMs take without services.
func straight(b *testing.B) time.Duration {
	b.Helper()
	s := costly(b)
	session := s.oned.For("oneadmin")
	began := time.Now()
	share(2*fleet, func(n int) {
		if _, err := session.InstantiateTemplate(b.Context(), 0, fmt.Sprintf("vm-%d", n), false, ""); err != nil {
			b.Error(err)
		}
	})
	poll.Until(b, "the VMs to run", func() bool { return s.running() == 2*fleet })
	return time.Since(began)
}

const twoRoles = `{"name": "fleet", "deployment": "straight", "roles": [
	{"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
	{"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["Master"]}]}`

// services is how long they take as services.
func services(b *testing.B) time.Duration {
	b.Helper()
	s := costly(b)
	path := s.template(b, twoRoles)
	began := time.Now()
	share(fleet, func(int) { s.post(b, path, instantiate) })
	poll.Until(b, "the services' VMs to run", func() bool { return s.running() == 2*fleet })
	poll.Until(b, "the services to be RUNNING", func() bool { return s.runningServices(b) == fleet })
	return time.Since(began)
}

// runningServices counts the services whose documents say RUNNING.
func (s *stand) runningServices(b *testing.B) int {
	b.Helper()
	documents, err := s.oned.Server().Documents(b.Context(), flow.DocumentTypeService, -2, -1, -1)
	must(b, err)
	count := 0
	for _, document := range documents {
		body, err := flow.ParseBody(document.Body)
		must(b, err)
		if (flow.Service{Body: body}).State() == flow.ServiceRunning {
			count++
		}
	}
	return count
}

// share has the clients do a number of things between them.
func share(count int, do func(n int)) {
	numbers := make(chan int)
	var clients sync.WaitGroup
	for range fleetClients {
		clients.Go(func() {
			for n := range numbers {
				do(n)
			}
		})
	}
	for n := range count {
		numbers <- n
	}
	close(numbers)
	clients.Wait()
}

// running counts the VMs that run.
func (s *stand) running() int {
	count := 0
	for _, vm := range s.app.Sim().VMs() {
		if vm.StateText == "RUNNING" {
			count++
		}
	}
	return count
}
