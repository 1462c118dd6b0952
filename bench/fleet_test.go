package bench

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	fleet        = 50 // services of two VMs each
	fleetClients = 8
)

// Bounds on the calls about documents that a service of two roles costs oned, which the
// benchmark fails above: the reads are the API's of the service template, and of the service
// that is to end. A call more in ten services is somebody else's.
const (
	infosToRunning, updatesToRunning = 1, 2
	infosToEnd, updatesToEnd         = 1, 1
	others                           = fleet / 10

	// upTarget and downTarget are the times wanted on a real oned, in floors.
	upTarget, downTarget = 1.15, 1.3
)

// BenchmarkFleet is the time in which 50 two-role services from 8 clients are RUNNING, that
// of the clients' requests meanwhile, the time in which the services end, and what they
// cost oned in calls. The floors are the same 100 VMs straight at oned, by turns; the ratios
// reported are medians of all turns, of which a real oned needs some: its times differ by a
// factor of two.
func BenchmarkFleet(b *testing.B) {
	s := costly(b)
	template := vmTemplate(b)
	path := s.template(b, fmt.Sprintf(fleetTemplate, template, template))
	s.warmUp(b, path)
	var ups, downs []float64
	for b.Loop() {
		floorUp, floorDown := s.straight(b, template)
		up, down := s.services(b, path)
		ups, downs = append(ups, float64(up)/float64(floorUp)), append(downs, float64(down)/float64(floorDown))
		ratio("50 two-role services from 8 clients to RUNNING", up, floorUp)
		ratio("50 two-role services to their end", down, floorDown)
	}
	slices.Sort(ups)
	slices.Sort(downs)
	b.ReportMetric(ups[len(ups)/2], "x-floor")
	b.ReportMetric(downs[len(downs)/2], "x-floor-end")
	notFar(b, "the fleet to RUNNING", ups[len(ups)/2], upTarget)
	notFar(b, "the fleet to its end", downs[len(downs)/2], downTarget)
	b.ReportMetric(0, "ns/op")
}

func ratio(what string, ours, floor time.Duration) {
	fmt.Printf("%-58s %8s  floor %8s  ratio %.2f  %s\n", what, ours.Round(time.Millisecond), floor.Round(time.Millisecond), float64(ours)/float64(floor), load())
}

// straight is how long the VMs take to RUNNING, and to their end, without services.
func (s *stand) straight(b *testing.B, template int) (up, down time.Duration) {
	b.Helper()
	session := s.oned.For("oneadmin")
	ids := make([]int, 2*fleet)
	began := time.Now()
	share(len(ids), func(n int) {
		var err error
		if ids[n], err = session.InstantiateTemplate(b.Context(), template, fmt.Sprintf("vm-%d", n), false, ""); err != nil {
			b.Error(err)
		}
	})
	slices.Sort(ids)
	all := func(is func(one.VM) bool) func() bool {
		return func() bool {
			vms, err := session.VMs(b.Context(), opennebula.FilterAll, ids[0], ids[len(ids)-1], opennebula.StateAny)
			must(b, err)
			return !slices.ContainsFunc(vms, func(vm one.VM) bool { return slices.Contains(ids, vm.ID) && !is(vm) })
		}
	}
	waitFor(b, "the VMs to run", all(one.VM.Running))
	up, began = time.Since(began), time.Now()
	share(len(ids), func(n int) {
		if err := session.ActOnVM(b.Context(), "terminate", ids[n]); err != nil {
			b.Error(err)
		}
	})
	waitFor(b, "the VMs to end", all(one.VM.Gone))
	return up, time.Since(began)
}

const (
	fleetTemplate = `{"name": "fleet", "deployment": "straight", "roles": [
	{"name": "Master", "type": "vm", "cardinality": 1, "template_id": %d},
	{"name": "Slave", "type": "vm", "cardinality": 1, "template_id": %d, "parents": ["Master"]}]}`
	// twoRoles is the same with the simulator's VM template.
	twoRoles = `{"name": "fleet", "deployment": "straight", "roles": [
	{"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
	{"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["Master"]}]}`
)

// services is how long the VMs take as services.
func (s *stand) services(b *testing.B, path string) (up, down time.Duration) {
	b.Helper()
	var mutex sync.Mutex
	var answers []time.Duration
	up = s.counted(b, "50 two-role services to RUNNING", infosToRunning, updatesToRunning, func() {
		share(fleet, func(int) {
			began := time.Now()
			s.post(b, path, instantiate)
			mutex.Lock()
			defer mutex.Unlock()
			answers = append(answers, time.Since(began))
		})
		waitFor(b, "the services to be RUNNING", func() bool { return s.runningServices(b) == fleet })
	})
	fmt.Printf("%-58s p50 %8s  p99 %8s  %s\n", "a client's instantiate meanwhile",
		quantile(answers, 0.50).Round(time.Millisecond), quantile(answers, 0.99).Round(time.Millisecond), load())
	return up, s.counted(b, "50 two-role services to their end", infosToEnd, updatesToEnd, func() { s.end(b) })
}

// warmUp lets the worker look through the services that it finds when it starts, and a
// first service come and go.
func (s *stand) warmUp(b *testing.B, path string) {
	b.Helper()
	const lists = 2 // for services that nobody wakes, and for whose each VM is
	waitFor(b, "the worker's first look", func() bool { return s.counts(b)["documentpool.info"] >= lists })
	s.post(b, path, instantiate)
	waitFor(b, "a service to be RUNNING", func() bool { return s.runningServices(b) == 1 })
	s.end(b)
}

// end removes all services.
func (s *stand) end(b *testing.B) {
	b.Helper()
	documents, err := s.oned.Server().Documents(b.Context(), spec.DocumentTypeService, -2)
	must(b, err)
	share(len(documents), func(n int) { s.remove(b, documents[n].ID) })
	waitFor(b, "the services to be gone", func() bool {
		left, err := s.oned.Server().Documents(b.Context(), spec.DocumentTypeService, -2)
		return err == nil && len(left) == 0
	})
}

// counted is how long something takes; it counts what services cost oned meanwhile, and holds
// it to bounds a service.
func (s *stand) counted(b *testing.B, what string, mostInfos, mostUpdates int, do func()) time.Duration {
	b.Helper()
	before, began := s.counts(b), time.Now()
	do()
	took, after := time.Since(began), s.counts(b)
	count := func(method string) int { return after[method] - before[method] }
	infos, updates, looks := count("document.info"), count("document.update"), count("vm.info")+count("vmpool.infoextended")
	fmt.Printf("%-58s %8s  a service: document.info %.2f, document.update %.2f, reads of VMs %.2f\n", what, took.Round(time.Millisecond),
		float64(infos)/fleet, float64(updates)/fleet, float64(looks)/fleet)
	mostUpdates += int(took / time.Minute) // a service on its way is written again
	if count("documentpool.info") > 0 {
		mostInfos++ // as every two minutes all services that wait were looked at
	}
	if infos > mostInfos*fleet+others || updates > mostUpdates*fleet+others {
		b.Errorf("%s: %d document.info and %d document.update, at most %d and %d are allowed, and %d others", what, infos, updates,
			mostInfos*fleet, mostUpdates*fleet, others)
	}
	return took
}

func (s *stand) remove(b *testing.B, service int) {
	b.Helper()
	status, answer, err := ask(b.Context(), s.http, http.MethodDelete, fmt.Sprintf("http://%s/service/%d", s.app.APIAddress(), service), "")
	must(b, err)
	if status != http.StatusNoContent && status != http.StatusAccepted { // it was queued: the machine is busy
		b.Errorf("DELETE of service %d: %d %s", service, status, answer)
	}
}

// runningServices counts the services whose documents say RUNNING.
func (s *stand) runningServices(b *testing.B) int {
	b.Helper()
	documents, err := s.oned.Server().Documents(b.Context(), spec.DocumentTypeService, -2)
	must(b, err)
	count := 0
	for _, document := range documents {
		body, err := spec.ParseBody(document.Body)
		must(b, err)
		if (spec.Service{Body: body}).State() == spec.ServiceRunning {
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
