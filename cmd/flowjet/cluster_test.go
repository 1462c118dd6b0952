package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/app/cluster"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
)

// fleet is Flowjet on three front-ends, a process for each part of each: NATS
// server, bridge, worker and API, over a simulated zone of three oneds.
type fleet struct {
	cloud
	plan                        cluster.Plan
	network                     *cluster.Network // nil on the loopback interface
	urls                        string
	apis                        []string
	nats, bridges, workers, api []*process
}

// startFleet starts the processes on the loopback interface, each front-end on
// an address of its own.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	addresses := cluster.Loopback(3)
	return startPlan(t, cluster.Plan{FrontEnds: addresses, Oneds: addresses, Ports: freePorts(t)}, nil)
}

// startSplitFleet starts them in network namespaces.
func startSplitFleet(t *testing.T) *fleet {
	t.Helper()
	network, err := cluster.NewNetwork(t.Context(), 3)
	if errors.Is(err, cluster.ErrNoNamespaces) {
		t.Skip("cutting front-ends off from each other: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return startIn(t, network)
}

// startChaosFleet starts them where they can be cut off, if that can be.
func startChaosFleet(t *testing.T) *fleet {
	t.Helper()
	network, err := cluster.NewNetwork(t.Context(), 3)
	if err != nil {
		t.Logf("nothing is cut off: %v", err)
		return startFleet(t)
	}
	return startIn(t, network)
}

func startIn(t *testing.T, network *cluster.Network) *fleet {
	t.Helper()
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	return startPlan(t, cluster.Plan{FrontEnds: network.FrontEnds(), Oneds: network.Oneds(), Ports: cluster.StandardPorts}, network)
}

func freePorts(t *testing.T) cluster.Ports {
	t.Helper()
	var list []int
	for _, address := range ports.Free(t, 6) {
		_, text, _ := net.SplitHostPort(address)
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, port)
	}
	return cluster.Ports{API: list[0], NATS: list[1], Route: list[2], XMLRPC: list[3], Hooks: list[4], Control: list[5]}
}

func startPlan(t *testing.T, plan cluster.Plan, network *cluster.Network) *fleet {
	t.Helper()
	plan.DataDir = t.TempDir()
	plan.Common = slices.Concat([]string{"--look-again", "1s"}, shortDeadlines)
	plan.Simulator = []string{
		"--sim-boot-delay", "10ms", "--sim-time-percent", "10",
	}
	if err := app.MakeKeys(plan.Keys()); err != nil {
		t.Fatal(err)
	}
	f := &fleet{plan: plan, network: network, urls: plan.NATS()}
	f.control = strings.TrimPrefix(plan.Control(), "http://")
	var parts []*process
	provisioned := false
	for _, member := range plan.Members() {
		if len(f.nats) == len(plan.FrontEnds) && !provisioned {
			provisioned = true
			f.start(t, cluster.Member{FrontEnd: 1, Arguments: plan.Provision()}).says("All streams exist and are configured correctly")
		}
		part := f.start(t, member)
		switch kind := member.Arguments[0]; kind {
		case "sim":
			part.says("Ctrl-C stops")
			f.slow(t, time.Millisecond)
			continue
		case "nats":
			f.nats = append(f.nats, part)
		case "worker":
			f.workers = append(f.workers, part)
		case "bridge":
			f.bridges = append(f.bridges, part)
		case "api":
			f.api = append(f.api, part)
			f.apis = append(f.apis, strings.TrimPrefix(member.Listens, "http://"))
		}
		parts = append(parts, part)
	}
	for _, part := range parts {
		part.says("Ctrl-C stops")
	}
	f.cloud.api = f.apis[0]
	f.isClosed(t)
	return f
}

// isClosed holds that no server lets anybody in without a key.
func (f *fleet) isClosed(t *testing.T) {
	t.Helper()
	if f.network != nil {
		return // they are elsewhere
	}
	for url := range strings.SplitSeq(f.urls, ",") {
		conn, err := nats.Connect(url, nats.Timeout(poll.Limit))
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s lets somebody in who has no key: %v", url, err)
		}
	}
}

// start runs a member where it belongs.
func (f *fleet) start(t *testing.T, member cluster.Member) *process {
	t.Helper()
	if f.network == nil || member.FrontEnd == 0 {
		return start(t, member.Arguments...)
	}
	return startUnder(t, []string{"ip", "netns", "exec", f.network.Namespace(member.FrontEnd - 1)}, member.Arguments...)
}

// netted is like pair, with a network of the service's own.
const netted = `{"name": "netted", "deployment": "straight", "networks": {"Priv": "M|network| | |template_id:0"},
	"networks_values": [{"Priv": {"template_id": "0", "extra": "AR=[TYPE=IP4,IP=10.7.0.1,SIZE=50]"}}], "roles": [
	{"name": "Master", "type": "vm", "cardinality": 2, "template_id": 0, "cooldown": 0,
	 "template_contents": {"NIC": [{"NAME": "NIC0", "NETWORK_ID": "$Priv"}]}},
	{"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "cooldown": 0, "parents": ["Master"]}]}`

const pair = `{"name": "pair", "deployment": "straight", "roles": [
	{"name": "Master", "type": "vm", "cardinality": 2, "template_id": 0, "cooldown": 0},
	{"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "cooldown": 0, "parents": ["Master"]}]}`

// TestAnyProcessMayDie kills one process of each kind with -9 while services are
// deployed, and every service comes to RUNNING with exactly its VMs.
func TestAnyProcessMayDie(t *testing.T) {
	if testing.Short() {
		t.Skip("starts thirteen processes")
	}
	c := startFleet(t)
	template := c.id(t, c.request(t, "POST", "/service_template", pair, http.StatusCreated))
	var services []int
	instantiate := func(count int) {
		for range count {
			services = append(services, c.anywhere(t, template))
		}
	}
	instantiate(4)
	c.workers[0].kill()
	instantiate(4)
	c.bridges[0].kill()
	instantiate(4)
	c.api[0].kill()
	c.cloud.api = c.apis[1]
	instantiate(4)
	c.nats[2].kill()
	instantiate(4)
	for _, service := range services {
		poll.Until(t, fmt.Sprintf("service %d to be RUNNING", service), func() bool { return c.state(t, service) == 2 })
	}
	c.fourEach(t, services)
	c.api[0].again()
	c.commandsOutliveTheirAPI(t, services[0])
}

// commandsOutliveTheirAPI kills an API right after it has accepted a command: one
// that was queued and one that was answered by its worker. Another API then shows
// that it was carried out.
func (c *fleet) commandsOutliveTheirAPI(t *testing.T, service int) {
	t.Helper()
	c.workers[0].again()
	path := fmt.Sprintf("/service/%d/scale", service)
	all := func(signal syscall.Signal) {
		for _, worker := range c.workers {
			_ = worker.command.Process.Signal(signal)
		}
	}
	all(syscall.SIGSTOP)
	c.request(t, "POST", path, `{"role_name": "Master", "cardinality": 3}`, http.StatusAccepted)
	c.api[1].kill()
	all(syscall.SIGCONT)
	c.cloud.api = c.apis[2]
	poll.Until(t, "the queued command to be carried out", func() bool { return len(c.vms(t, service)) == 5 && c.state(t, service) == 2 })
	c.request(t, "POST", path, `{"role_name": "Master", "cardinality": 4}`, http.StatusNoContent)
	c.api[2].kill()
	c.cloud.api = c.apis[0]
	c.api[0].says("Ctrl-C stops")
	poll.Until(t, "the answered command to be carried out", func() bool { return len(c.vms(t, service)) == 6 && c.state(t, service) == 2 })
}

// fourEach holds that each service of the template pair has its VMs, once.
func (c *fleet) fourEach(t *testing.T, services []int) {
	t.Helper()
	for _, service := range services {
		vms := c.vms(t, service)
		keys := map[string]bool{}
		for _, vm := range vms {
			keys[vm.Key] = true
		}
		if len(vms) != 4 || len(keys) != 4 {
			t.Errorf("service %d has %d VMs with %d keys, want 4 of both: %v", service, len(vms), len(keys), vms)
		}
	}
}

// anywhere instantiates at whichever API answers, as a client behind a load
// balancer does. A try that got no answer may have made a service all the same:
// it counts for nothing here.
func (c *fleet) anywhere(t *testing.T, template int) int {
	t.Helper()
	service := -1
	poll.Until(t, "an API to take a service", func() bool {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
			fmt.Sprintf("http://%s/service_template/%d/action", c.cloud.api, template), strings.NewReader(`{"action": {"perform": "instantiate"}}`))
		if err != nil {
			t.Fatal(err)
		}
		status, answer := send(t, request)
		if status == http.StatusCreated {
			service = c.id(t, answer)
		}
		return service >= 0
	})
	return service
}

func TestPartsOfACloudSayWhereTheyAre(t *testing.T) {
	c := newCloud(t)
	start(t, "sim", "--data-dir", c.data, "--sim-listen", c.simulator()).says(c.xmlrpc)
	if info, err := os.Stat(c.auth()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the credentials are not in a file for their owner only: %v %v", info, err)
	}
}
