package bench

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// poolSize is how many services the reads are measured with.
const poolSize = 1000

var poolBody = []byte(`{"name":"pool","deployment":"straight","state":2,"start_time":1,"registration_time":1,"log":[{"timestamp":1,"severity":"I","message":"New state: RUNNING"}],
	"roles":[{"name":"Master","type":"vm","cardinality":0,"template_id":0,"state":2,"nodes":[]},{"name":"Slave","type":"vm","cardinality":0,"template_id":0,"parents":["Master"],"state":2,"nodes":[]}]}`)

// pool fills the stand with services that nobody works on, and returns their ids.
func (s *stand) pool(b *testing.B) []int {
	b.Helper()
	ids := make([]int, poolSize)
	for i := range ids {
		id, err := s.oned.For("oneadmin").AllocateDocument(b.Context(), 100, fmt.Sprintf("pool-%d", i), poolBody)
		must(b, err)
		ids[i] = id
	}
	return ids
}

// get reads a path as oneadmin and returns how many bytes it has.
func (s *stand) get(client *http.Client, path string) (int64, error) {
	return s.getAs("oneadmin:opennebula", client, path)
}

func (s *stand) getAs(user string, client *http.Client, path string) (int64, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.app.APIAddress()+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	name, secret, _ := strings.Cut(user, ":")
	request.SetBasicAuth(name, secret)
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	read, err := io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return read, err
}

// BenchmarkShowService is the time of GET /service/:id with 1,000 services in
// the pool. The floor is the one call to oned: reading the document.
func BenchmarkShowService(b *testing.B) {
	s := newStand(b)
	ids := s.pool(b)
	_, err := s.get(s.http, "/service")
	must(b, err)
	var ours, floor []time.Duration
	for b.Loop() {
		for i := range rounds {
			id := ids[i*7%len(ids)]
			began := time.Now()
			_, err := s.get(s.http, fmt.Sprintf("/service/%d", id))
			ours = append(ours, time.Since(began))
			must(b, err)

			began = time.Now()
			_, err = s.oned.For("oneadmin").Document(b.Context(), id)
			floor = append(floor, time.Since(began))
			must(b, err)
		}
	}
	report(b, "GET /service/:id, 1,000 services in the pool", ours, floor)
}

// BenchmarkListServices is the time of GET /service with 1,000 services. The
// floor is the one call to oned: reading the pool.
func BenchmarkListServices(b *testing.B) {
	s := newStand(b)
	s.pool(b)
	var ours, floor []time.Duration
	for b.Loop() {
		for range rounds / 5 {
			began := time.Now()
			_, err := s.get(s.http, "/service")
			ours = append(ours, time.Since(began))
			must(b, err)

			began = time.Now()
			_, err = s.oned.For("oneadmin").Documents(b.Context(), 100, opennebula.FilterAll)
			floor = append(floor, time.Since(began))
			must(b, err)
		}
	}
	report(b, "GET /service, 1,000 services", ours, floor)
}

// manyServices is how many services, and templates, the lists are measured with.
const manyServices = 2000

// BenchmarkManyServices is the time of lists of 2,000 services and templates, and of services
// of which another program changes one before each read, on a real oned where one is named.
// The floor is the one call to oned.
func BenchmarkManyServices(b *testing.B) {
	var s *stand
	if isReal() {
		s = realStand(b)
	} else {
		s = newStand(b)
	}
	session := s.oned.For("oneadmin")
	var changed atomic.Int64 // a service
	for kind, body := range map[int]string{spec.DocumentTypeService: string(poolBody), spec.DocumentTypeServiceTemplate: twoRoles} {
		share(manyServices, func(n int) {
			id, err := session.AllocateDocument(b.Context(), kind, fmt.Sprintf("many-%d", n), []byte(body))
			if err != nil {
				b.Error(err)
			}
			if kind == spec.DocumentTypeService {
				changed.Store(int64(id))
			}
		})
	}
	for b.Loop() {
		for _, list := range []struct {
			path   string
			kind   int
			change bool
		}{
			{"/service", spec.DocumentTypeService, false},
			{"/service", spec.DocumentTypeService, true},
			{"/service_template", spec.DocumentTypeServiceTemplate, false},
			{"/flowjet/v1/services?limit=50", spec.DocumentTypeService, false},
			{"/flowjet/v1/templates", spec.DocumentTypeServiceTemplate, false},
		} {
			what := ""
			var ours, floor []time.Duration
			for i := range rounds / 5 {
				if list.change {
					what = ", one of them changed before each read"
					must(b, session.RenameDocument(b.Context(), int(changed.Load()), fmt.Sprintf("changed-%d", i)))
				}
				began := time.Now()
				_, err := s.get(s.http, list.path)
				ours = append(ours, time.Since(began))
				must(b, err)

				began = time.Now()
				_, err = session.Documents(b.Context(), list.kind, opennebula.FilterAll)
				floor = append(floor, time.Since(began))
				must(b, err)
			}
			report(b, fmt.Sprintf("GET %s, %d of them%s %s", list.path, manyServices, what, load()), ours, floor)
		}
	}
}

// BenchmarkListsOfOne is the time of GET /service for a user who sees some of
// 1,000 services more: it is to grow with what the user sees. The floor is the
// one call to oned.
func BenchmarkListsOfOne(b *testing.B) {
	s := newStand(b)
	s.pool(b)
	seen := 0
	for b.Loop() {
		for _, size := range []int{10, 100, 1000} {
			for ; seen < size; seen++ {
				_, err := s.oned.For("alice").AllocateDocument(b.Context(), 100, "own", poolBody)
				must(b, err)
			}
			var ours, floor []time.Duration
			for range rounds / 5 {
				began := time.Now()
				_, err := s.getAs("alice:alice", s.http, "/service")
				ours = append(ours, time.Since(began))
				must(b, err)

				began = time.Now()
				_, err = s.oned.For("alice").Documents(b.Context(), 100, opennebula.FilterAll)
				floor = append(floor, time.Since(began))
				must(b, err)
			}
			report(b, fmt.Sprintf("GET /service of one who sees %d of %d", size, poolSize+size), ours, floor)
		}
	}
}

// clients is how many read at the same time.
const clients = 200

// BenchmarkManyClients is the time of GET /service/:id with 200 clients at
// once, none of which may fail. The floor is as many at once asking oned.
func BenchmarkManyClients(b *testing.B) {
	s := newStand(b)
	ids := s.pool(b)
	crowd := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer crowd.CloseIdleConnections()
	session := s.oned.For("oneadmin")
	var ours, floor []time.Duration
	for b.Loop() {
		ours = append(ours, together(b, func(client int) error {
			_, err := s.get(crowd, fmt.Sprintf("/service/%d", ids[client*5%len(ids)]))
			return err
		})...)
		floor = append(floor, together(b, func(client int) error {
			_, err := session.Document(b.Context(), ids[client*5%len(ids)])
			return err
		})...)
	}
	report(b, "GET /service/:id, 200 clients at once", ours, floor)
}

// together has every client do the same a few times, and returns how long each took.
func together(b *testing.B, do func(client int) error) []time.Duration {
	b.Helper()
	const each = 10
	samples := make([]time.Duration, clients*each)
	failures := make([]error, clients)
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for i := range each {
				began := time.Now()
				if err := do(client); err != nil {
					failures[client] = err
				}
				samples[client*each+i] = time.Since(began)
			}
		})
	}
	group.Wait()
	for _, err := range failures {
		must(b, err)
	}
	return samples
}
