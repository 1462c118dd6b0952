package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
)

// Bounds on the calls about documents that a service of two roles costs oned: the reads are
// the API's of the service template, and of the service that is to end.
const (
	infosToRunning, updatesToRunning = 1, 2
	infosToEnd, updatesToEnd         = 1, 1
)

// BenchmarkDocumentCalls counts the calls about documents that 50 two-role services from 8
// clients make on their way to RUNNING, and to their end, and fails above the bounds.
func BenchmarkDocumentCalls(b *testing.B) {
	for b.Loop() {
		s := costly(b)
		path := s.template(b, twoRoles)
		s.warmUp(b, path)
		s.calls(b, "50 two-role services to RUNNING", infosToRunning, updatesToRunning, func() {
			share(fleet, func(int) { s.post(b, path, instantiate) })
			poll.Until(b, "the services to be RUNNING", func() bool { return s.runningServices(b) == fleet })
		})
		s.calls(b, "50 two-role services to their end", infosToEnd, updatesToEnd, func() { s.end(b) })
		b.ReportMetric(0, "ns/op")
	}
}

// warmUp lets the worker look through the services that it finds when it starts, and a
// first service come and go.
func (s *stand) warmUp(b *testing.B, path string) {
	b.Helper()
	const lists = 2 // for services that nobody wakes, and for whose each VM is
	poll.Until(b, "the worker's first look", func() bool { return s.app.Sim().CallCounts()["one.documentpool.info"] >= lists })
	s.post(b, path, instantiate)
	poll.Until(b, "a service to be RUNNING", func() bool { return s.runningServices(b) == 1 })
	s.end(b)
}

// end removes all services.
func (s *stand) end(b *testing.B) {
	b.Helper()
	documents, err := s.oned.Server().Documents(b.Context(), flow.DocumentTypeService, -2, -1, -1)
	must(b, err)
	share(len(documents), func(n int) { s.remove(b, documents[n].ID) })
	poll.Until(b, "the services to be gone", func() bool {
		left, err := s.oned.Server().Documents(b.Context(), flow.DocumentTypeService, -2, -1, -1)
		return err == nil && len(left) == 0
	})
}

// calls counts what services cost, and holds it to bounds a service.
func (s *stand) calls(b *testing.B, what string, mostInfos, mostUpdates int, do func()) {
	b.Helper()
	before := s.app.Sim().CallCounts()
	began := time.Now()
	do()
	after := s.app.Sim().CallCounts()
	count := func(method string) int { return after[method] - before[method] }
	took := time.Since(began)
	// A service that is on its way for longer than a second or two is written again.
	allowed := int(float64(mostUpdates*fleet) * max(1, took.Seconds()/2))
	infos, updates := count("one.document.info"), count("one.document.update")
	fmt.Printf("%-58s %8s  document.info %.2f, document.update %.2f a service\n", what, took.Round(time.Millisecond),
		float64(infos)/fleet, float64(updates)/fleet)
	if infos > mostInfos*fleet || updates > allowed {
		b.Errorf("%s: %d document.info and %d document.update, at most %d and %d are allowed", what, infos, updates, mostInfos*fleet, allowed)
	}
}

func (s *stand) remove(b *testing.B, service int) {
	b.Helper()
	status, answer, err := ask(b.Context(), s.http, http.MethodDelete, fmt.Sprintf("http://%s/service/%d", s.app.APIAddress(), service), "")
	must(b, err)
	if status != http.StatusNoContent && status != http.StatusAccepted { // it was queued: the machine is busy
		b.Errorf("DELETE of service %d: %d %s", service, status, answer)
	}
}
