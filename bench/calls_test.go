package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
)

// Bounds on the calls about documents that a service of two roles costs oned. The reads are
// of the service template and the service.
const (
	infosToRunning, updatesToRunning = 3, 4
	infosToEnd, updatesToEnd         = 2, 3
)

// BenchmarkDocumentCalls counts the calls about documents that 50 two-role services from 8
// clients make on their way to RUNNING, and to their end, and fails above the bounds.
func BenchmarkDocumentCalls(b *testing.B) {
	for b.Loop() {
		s := costly(b)
		path := s.template(b, twoRoles)
		s.calls(b, "50 two-role services to RUNNING", infosToRunning, updatesToRunning, func() {
			share(fleet, func(int) { s.post(b, path, instantiate) })
			poll.Within(b, time.Minute, "the services to be RUNNING", func() bool { return s.runningServices(b) == fleet })
		})
		documents, err := s.oned.Server().Documents(b.Context(), flow.DocumentTypeService, -2, -1, -1)
		must(b, err)
		s.calls(b, "50 two-role services to their end", infosToEnd, updatesToEnd, func() {
			share(fleet, func(n int) { s.remove(b, documents[n].ID) })
			poll.Within(b, time.Minute, "the services to be gone", func() bool {
				left, err := s.oned.Server().Documents(b.Context(), flow.DocumentTypeService, -2, -1, -1)
				return err == nil && len(left) == 0
			})
		})
		b.ReportMetric(0, "ns/op")
	}
}

// calls counts what services cost, and holds it to bounds a service.
func (s *stand) calls(b *testing.B, what string, mostInfos, mostUpdates int, do func()) {
	b.Helper()
	before := s.app.Sim().CallCounts()
	began := time.Now()
	do()
	after := s.app.Sim().CallCounts()
	count := func(method string) int { return after[method] - before[method] }
	infos, updates := count("one.document.info"), count("one.document.update")
	fmt.Printf("%-58s %8s  document.info %.2f, document.update %.2f a service\n", what, time.Since(began).Round(time.Millisecond),
		float64(infos)/fleet, float64(updates)/fleet)
	if infos > mostInfos*fleet || updates > mostUpdates*fleet {
		b.Errorf("%s: %d document.info and %d document.update, at most %d and %d a service are allowed", what, infos, updates, mostInfos, mostUpdates)
	}
}

func (s *stand) remove(b *testing.B, service int) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodDelete, fmt.Sprintf("http://%s/service/%d", s.app.APIAddress(), service), nil)
	must(b, err)
	request.SetBasicAuth("oneadmin", "opennebula")
	response, err := s.http.Do(request)
	must(b, err)
	must(b, response.Body.Close())
	if response.StatusCode != http.StatusNoContent {
		b.Errorf("DELETE of service %d: %s", service, response.Status)
	}
}
