package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

// TestThereAndBack takes a service over that a stopped OneFlow has left in
// PENDING, and gives it back, with the one process of `flowjet up`.
func TestThereAndBack(t *testing.T) {
	c := newCloud(t)
	zone := t.TempDir()
	auth := filepath.Join(zone, app.SimulatedAuthFile)
	start(t, "sim", "--data-dir", zone, "--sim-listen", c.simulator()).says("Ctrl-C stops")
	text, err := os.ReadFile(auth)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := opennebula.ParseCredentials(string(text))
	if err != nil {
		t.Fatal(err)
	}
	oned := opennebula.NewClient(opennebula.Config{Endpoint: "http://" + c.xmlrpc + "/RPC2", Credentials: credentials})
	t.Cleanup(oned.Close)
	service, err := oned.For("oneadmin").AllocateDocument(t.Context(), spec.DocumentTypeService, "left\u009b2J", []byte(
		`{"name": "left", "deployment": "none", "state": 0, "roles": [{"name": "r", "type": "vm", "cardinality": 2, "template_id": 0}]}`))
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{
		"--data-dir", c.data, "--nats-listen", c.nats, "--one-xmlrpc", "http://" + c.xmlrpc + "/RPC2",
		"--one-hooks", "tcp://" + c.hooks, "--one-auth-file", auth,
	}
	imported := filepath.Join(zone, "flowjet.yaml") // as OneFlow's log level 2 is imported
	if err := os.WriteFile(imported, []byte("log:\n  level: info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	migrate := func(more ...string) *process {
		t.Helper()
		p := start(t, append(append([]string{"migrate", "--config", imported, "--oneflow", "http://" + c.api}, flags...), more...)...)
		p.wait()
		if said := p.output.String(); strings.Contains(said, "level=INFO") || strings.Contains(said, "\u009b") {
			t.Errorf("it logs what is no problem, or writes a character that a terminal obeys:\n%q", said)
		}
		return p
	}
	expect := func(p *process, fails bool, wanted ...string) {
		t.Helper()
		for _, text := range wanted {
			if said := p.output.String(); (p.err != nil) != fails || !strings.Contains(said, text) {
				t.Fatalf("it ended with %v and did not say %q:\n%s", p.err, text, said)
			}
		}
	}

	expect(migrate(), false, "ok    oned at", "goes from PENDING", "Nothing was changed")
	expect(migrate("--yes"), false, "Services taken over: 1. Workers continue with them")
	up := start(t, append([]string{"up", "--api-listen", c.api}, flags...)...)
	up.says("Ctrl-C stops")
	poll.Until(t, "the service to run", func() bool { return c.state(t, service) == 2 })
	expect(migrate(), false, "is already Flowjet")
	expect(migrate("--back", "--yes"), true, "workers still run")
	if _, err := up.interrupt(); err != nil {
		t.Fatal(err)
	}
	expect(migrate("--back"), false, "RUNNING", "Nothing was changed")
	expect(migrate("--back", "--yes"), false, "OneFlow can be started")
	document, err := oned.Server().Document(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	body, err := spec.ParseBody(document.Body)
	if err != nil || (spec.Service{Body: body}).State() != spec.ServiceRunning || len(body.Roles[0].Nodes) != 2 {
		t.Errorf("OneFlow finds %s %v", document.Body, err)
	}
}
