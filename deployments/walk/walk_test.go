// Package walk follows docs/install.md and docs/high-availability.md to the
// letter, as a new administrator does: on three front-ends with a systemd each, from
// the .deb to three copies of everything and back to OneFlow. The commands and
// files are taken from the pages, so that pages and product cannot drift apart.
//
// It needs root, systemd's program and the .deb, which WALK_PACKAGE names:
// `make walk`.
package walk

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

const oneflowConf = `---
:one_xmlrpc: http://127.0.0.1:2633/RPC2
:host: 127.0.0.1
:port: 2474
:autoscaler_interval: 90
:default_cooldown: 120
:wait_timeout: 30
:concurrency: 10
:shutdown_action: 'terminate'
:action_number: 1
:action_period: 60
:vm_name_template: '$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)'
:page_size: 10
:core_auth: cipher
:log:
  :level: 2
  :system: file
`

const running = int(spec.ServiceRunning)

func TestWalk(t *testing.T) {
	packaged, newer := os.Getenv("WALK_PACKAGE"), os.Getenv("WALK_NEWER")
	if packaged == "" || newer == "" {
		t.Skip("WALK_PACKAGE and WALK_NEWER name no .deb: `make walk` builds both and walks")
	}
	if err := missing(); err != nil {
		t.Fatalf("machines with a systemd each cannot be made here: %v", err)
	}
	s := newSite(t)
	shared := filepath.Dir(filepath.Dir(s.frontEnds[0].root))
	deliver(t, packaged, filepath.Join(shared, "flowjet.deb"))
	deliver(t, newer, filepath.Join(shared, "newer.deb"))
	g := &guide{site: s, t: t, typed: map[string]bool{}, instead: map[string]string{
		"make packages VERSION=0.1.0":          "",
		"dpkg -i dist/flowjet_0.1.0_amd64.deb": "dpkg -i /walk/flowjet.deb",
		"dpkg -i flowjet_0.1.0_amd64.deb":      "dpkg -i /walk/flowjet.deb",
		"dpkg -i flowjet_0.2.0_amd64.deb":      "dpkg -i /walk/newer.deb",
		// On a busy machine what was just started needs a moment until all is well.
		"flowjet doctor": "until flowjet doctor; do sleep 1; done",
	}}
	one := readPage(t, "install.md")
	g.onOneFrontEnd(one)
	for _, m := range s.frontEnds[1:] {
		m.runs("dpkg -i /walk/flowjet.deb")
	}
	three := readPage(t, "high-availability.md")
	g.balance(three)
	g.onThree(three)
}

func deliver(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	must(t, err)
	defer source.Close()
	target, err := os.Create(to)
	must(t, err)
	_, err = io.Copy(target, source)
	must(t, err)
	must(t, target.Close())
}

// onOneFrontEnd: OneFlow's place is taken, a service lives, and OneFlow has it back.
func (g *guide) onOneFrontEnd(page map[string]section) {
	t, m := g.t, g.frontEnds[0]
	left := g.leave(t, "left")
	g.shows = map[string][]string{
		"flowjet config import /etc/one/oneflow-server.conf --into /etc/flowjet/flowjet.yaml": {":default_cooldown  -> worker.default_cooldown: 2m0s", ":page_size  ignored"},
		"flowjet config check --config /etc/flowjet/flowjet.yaml":                             {"The configuration is valid."},
		"flowjet migrate":       {"ok    oned at http://127.0.0.1:2633/RPC2", "OneFlow at http://127.0.0.1:2474: is stopped", "goes from PENDING", "Nothing was changed"},
		"flowjet migrate --yes": {"Services taken over: 1."},
		"flowjet doctor":        {"ok      workers: 1 running", "ok      API: http"},
	}
	g.after = map[string]func(){"dpkg -i dist/flowjet_0.1.0_amd64.deb": func() {
		if said, err := m.try("flowjet migrate --yes --one-auth-file /var/lib/one/.one/oneflow_auth"); err == nil || !strings.Contains(said, "FIX   OneFlow at http://127.0.0.1:2474: still answers") {
			t.Errorf("services are taken over from a OneFlow that runs: %v\n%s", err, said)
		}
	}}
	g.follow(page["One front-end"])
	m.runs("grep -q 'default_cooldown: 2m0s' /etc/flowjet/flowjet.yaml && grep -q '# Metrics, health' /etc/flowjet/flowjet.yaml")
	poll.Until(t, "the service that OneFlow had left to run", func() bool {
		said, _ := m.try(fmt.Sprintf("flowjet service watch %d --until RUNNING --timeout 20s", left))
		return strings.Contains(said, "RUNNING")
	})
	g.shows = map[string][]string{
		"flowjet migrate --back":       {"workers still run", "RUNNING"},
		"flowjet migrate --back --yes": {"OneFlow can be started"},
	}
	g.follow(page["Back to OneFlow"])
	g.isOneFlows(t, left, 2)
}

// leave is a service as OneFlow leaves it that was stopped at once.
func (s *site) leave(t *testing.T, name string) int {
	t.Helper()
	id, err := s.oned(t).For("oneadmin").AllocateDocument(t.Context(), spec.DocumentTypeService, name, []byte(fmt.Sprintf(
		`{"name": %q, "deployment": "none", "state": 0, "roles": [{"name": "r", "type": "vm", "cardinality": 2, "template_id": 0}]}`, name)))
	must(t, err)
	return id
}

func (s *site) oned(t *testing.T) *opennebula.Client {
	t.Helper()
	credentials, err := opennebula.ParseCredentials(s.serverUser)
	must(t, err)
	client := opennebula.NewClient(opennebula.Config{Endpoint: "http://" + s.network.Oneds()[0] + ":2633/RPC2", Credentials: credentials})
	client.Follow(t.Context(), 0)
	t.Cleanup(client.Close)
	return client
}

// isOneFlows holds what OneFlow reads: a document in RUNNING, each role with the
// VMs that there are, and these with what vm_info has.
func (s *site) isOneFlows(t *testing.T, service, vms int) {
	t.Helper()
	found, err := s.oned(t).Server().Document(t.Context(), service)
	must(t, err)
	body, err := spec.ParseBody(found.Body)
	must(t, err)
	count := 0
	for _, role := range body.Roles {
		count += len(role.Nodes)
		if role.State == nil || *role.State != spec.RoleRunning || len(role.Nodes) != role.Cardinality {
			t.Errorf("service %d, role %s: OneFlow finds %s", service, role.Name, found.Body)
		}
		for _, node := range role.Nodes {
			if !strings.Contains(string(found.Body), fmt.Sprintf(`"deploy_id":%d`, node.DeployID)) || node.VMInfo.VM.Name == "" {
				t.Errorf("service %d: VM %d is not as OneFlow has it: %s", service, node.DeployID, found.Body)
			}
		}
	}
	if state := (spec.Service{Body: body}).State(); state != spec.ServiceRunning || count != vms {
		t.Errorf("service %d is %s with %d VMs for OneFlow, want RUNNING with %d: %s", service, state, count, vms, found.Body)
	}
}

// onThree: three of everything with users and TLS behind a balancer, and all that is done
// to them while a customer goes on, and back.
func (g *guide) onThree(page map[string]section) {
	t := g.t
	g.shows = map[string][]string{
		"flowjet config check --config /etc/flowjet/flowjet.yaml": {"The configuration is valid."},
		"flowjet nats provision":                                  {"All streams exist and are configured correctly."},
		"flowjet migrate":                                         {"NATS: answers", "Nothing was changed"},
		"flowjet migrate --yes":                                   {"Services taken over: 1."},
		"flowjet status":                                          {"services      1 RUNNING"},
		"dpkg -i flowjet_0.2.0_amd64.deb":                         {"(0.2.0) over (0.1.0)"},
		"dpkg -i flowjet_0.1.0_amd64.deb":                         {"(0.1.0) over (0.2.0)"},
		"until flowjet doctor; do sleep 2; done":                  {"ok      workers: 3 running", "ok      streams", "ok      bridges"},
	}
	g.after = map[string]func(){
		"systemctl enable --now flowjet-bridge flowjet-worker flowjet-api": func() { g.settle("three of everything") },
	}
	g.follow(page["Step by step"])
	g.strangersAreTurnedAway()
	g.portsAreThose(page["What runs where"])

	told := watch{t, t.TempDir()}
	told.scrape(g.frontEnds)
	customer := g.newCustomer(t)
	g.eventsStream(customer)
	g.after["systemctl stop flowjet-api flowjet-worker flowjet-bridge flowjet-nats"] = func() {
		poll.Until(t, "the customer to go on with two of three", g.further(customer, 40))
		told.scrape([]*machine{g.frontEnds[0], g.frontEnds[2]})
	}
	g.follow(page["Work on one of them"])
	g.upgrade(page["Upgrade and downgrade"])
	g.frontEnds[2].runs("dpkg --purge flowjet && dpkg -i /walk/flowjet.deb")
	poll.Until(t, "the customer to go on without the third", g.further(customer, 20))
	g.follow(page["Replace a front-end"])
	poll.Until(t, "the customer to go on with three again", g.further(customer, 20))
	told.scrape(g.frontEnds) // a rate needs two figures of one process, and all have been started again
	poll.Until(t, "the customer to go on for two figures of a rate", g.further(customer, 20))
	customer.stop()
	<-customer.ended
	if customer.err != nil {
		t.Fatalf("the customer noticed: %v", customer.err)
	}
	t.Logf("the customer made %d services, and repeated %d requests", len(customer.made), customer.repeated)
	g.allRun(customer)
	told.scrape(g.frontEnds)
	told.check()
	for _, m := range g.frontEnds {
		if said, _ := m.try("journalctl --no-pager -u flowjet-nats | grep 'route handshake error'"); said != "" {
			t.Errorf("servers do not know each other on %s:\n%s", m.name, said)
		}
	}
	g.after = map[string]func(){}
	g.follow(page["Backup and restore"])
	g.allRun(customer)

	g.shows = map[string][]string{
		"flowjet migrate --back":       {"RUNNING", "Nothing was changed"},
		"flowjet migrate --back --yes": {"OneFlow can be started"},
	}
	g.follow(page["Back to OneFlow"])
	for _, service := range customer.made {
		g.isOneFlows(t, service, 2)
	}
}

func (g *guide) further(c *customer, rounds int64) func() bool {
	wanted := c.rounds.Load() + rounds
	return func() bool {
		select {
		case <-c.ended:
			g.t.Fatalf("the customer noticed: %v", c.err)
		default:
		}
		return c.rounds.Load() >= wanted
	}
}

// upgrade follows the section, and holds that it restarts what runs.
func (g *guide) upgrade(s section) {
	g.t.Helper()
	const numbers = "systemctl show --property MainPID flowjet-nats flowjet-bridge flowjet-worker flowjet-api"
	before := map[string][]string{}
	for _, m := range g.frontEnds {
		before[m.name] = strings.Fields(m.runs(numbers))
	}
	g.follow(s)
	for _, m := range g.frontEnds {
		for i, number := range strings.Fields(m.runs(numbers)) {
			if number == before[m.name][i] || number == "MainPID=0" {
				g.t.Errorf("an upgrade leaves process %d of %s as it was: %s", i, m.name, number)
			}
		}
	}
}

// settle waits until doctor finds no problem, with three of everything.
func (g *guide) settle(what string) {
	g.t.Helper()
	poll.Until(g.t, what+", as doctor sees it", func() bool {
		said, err := g.frontEnds[0].try("flowjet doctor")
		return err == nil && strings.Contains(said, "ok      workers: 3 running") && strings.Contains(said, "ok      streams")
	})
}

// allRun holds that what was asked for is there, once, and runs.
func (g *guide) allRun(c *customer) {
	g.t.Helper()
	var states map[int]int
	poll.Until(g.t, "every service to run", func() bool {
		var err error
		states, err = c.services(g.t.Context())
		must(g.t, err)
		for _, service := range c.made {
			if states[service] != running {
				return false
			}
		}
		return true
	})
	if len(states) != len(c.made)+1 {
		g.t.Errorf("the customer asked for %d services, and there are %d besides the first", len(c.made), len(states)-1)
	}
}

// strangersAreTurnedAway: NATS knows nobody without a key, and each role may do its
// own part only.
func (g *guide) strangersAreTurnedAway() {
	g.t.Helper()
	m := g.frontEnds[0]
	for line, want := range map[string]string{
		"flowjet status --nats-nkey-file ''":                               "uthorization",
		"flowjet status --nats-ca-file ''":                                 "certificate",
		"flowjet nats provision --nats-nkey-file /etc/flowjet/nats/api.nk": "ermission",
	} {
		if said, err := m.try(line); err == nil || !strings.Contains(said, want) {
			g.t.Errorf("%s: %v %s", line, err, said)
		}
	}
}
