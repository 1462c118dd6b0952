package sim_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// session is the server user's, as Flowjet's parts have it.
func session(t testing.TB, s *sim.Sim) *opennebula.Session {
	t.Helper()
	credentials, err := opennebula.ParseCredentials(s.ServerCredentials())
	if err != nil {
		t.Fatal(err)
	}
	client := opennebula.NewClient(opennebula.Config{Endpoint: s.Endpoint(), Credentials: credentials})
	t.Cleanup(client.Close)
	return client.Server()
}

// TestPopulation: the services that are put into the zone are complete, survive
// a restart, and nobody heard of them.
func TestPopulation(t *testing.T) {
	config := sim.Config{StateFile: filepath.Join(t.TempDir(), "zone.db")}
	s := start(t, config)
	told(t, s, http.MethodPost, "/population", `{"services":60,"roles":2,"vms":3}`)
	if published := s.Events().Published; published != 0 {
		t.Errorf("%d events were published", published)
	}
	stop(t, s)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	oned := session(t, s)
	documents, err := oned.Documents(t.Context(), spec.DocumentTypeService, -2)
	if err != nil || len(documents) != 60 {
		t.Fatalf("there are %d services (%v), want 60", len(documents), err)
	}
	for _, document := range documents {
		checkPopulated(t, oned, document)
	}
}

// checkPopulated makes sure that a service runs, with all its nodes.
func checkPopulated(t *testing.T, oned *opennebula.Session, document opennebula.Document) {
	t.Helper()
	body, err := spec.ParseBody(document.Body)
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: document.ID, Body: body}
	if service.State() != spec.ServiceRunning || len(body.Roles) != 2 || len(body.Roles[1].Nodes) != 3 {
		t.Fatalf("service %d is %s with the roles %+v", document.ID, service.State(), body.Roles)
	}
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			vm, err := oned.VM(context.Background(), node.DeployID)
			if err != nil || !vm.Running() || vm.Service != document.ID || vm.Role != role.Name || vm.Key == "" {
				t.Fatalf("node %d of service %d is %+v (%v)", node.DeployID, document.ID, vm, err)
			}
		}
	}
}

// TestHostFails: a host takes its running VMs with it and brings them back, and
// each is told of.
func TestHostFails(t *testing.T) {
	s := start(t, sim.Config{})
	if err := s.Populate(sim.Population{Services: 100, Roles: 1, VMs: 4}); err != nil {
		t.Fatal(err)
	}
	told(t, s, http.MethodPost, "/hosts/2/fail", "")
	if states := s.State().VMs; states["UNKNOWN"] != 100 || states["RUNNING"] != 300 {
		t.Errorf("the VMs are %v", states)
	}
	poll.Until(t, "the events to be published", func() bool { return s.Events().Published == 100 })
	if back, err := s.RecoverHost(2); err != nil || back != 100 {
		t.Errorf("%d VMs are back (%v), want 100", back, err)
	}
	if status, text := control(t, s, http.MethodPost, "/hosts/9/fail", ""); status != http.StatusBadRequest || !strings.Contains(text, "hosts 0 to 3") {
		t.Errorf("a host that there is not: %d %s", status, text)
	}
	if s.Populate(sim.Population{Services: 1}) == nil {
		t.Error("a service without roles was taken")
	}
}
