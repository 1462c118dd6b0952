package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
)

// cluster is Flowjet on three front-ends, a process for each part of each: NATS
// server, bridge, worker and API, over one simulated oned.
type cluster struct {
	cloud
	auth                        string
	urls                        string
	apis                        []string
	nats, bridges, workers, api []*process
}

func startCluster(t *testing.T, hosts int) *cluster {
	t.Helper()
	c := &cluster{cloud: newCloud(t), auth: filepath.Join(t.TempDir(), "auth")}
	start(t, "sim", "--data-dir", c.data, "--sim-auth-file", c.auth, "--sim-boot-delay", "10ms", "--sim-call-delay", "1ms",
		"--sim-xmlrpc-listen", c.xmlrpc, "--sim-hooks-listen", c.hooks, "--sim-control-listen", c.control).says("Ctrl-C stops")
	clients, routes := ports.Free(t, hosts), ports.Free(t, hosts)
	c.apis = ports.Free(t, hosts)
	for i := range hosts {
		c.nats = append(c.nats, start(t, "nats", "--data-dir", t.TempDir(), "--nats-listen", clients[i],
			"--nats-name", fmt.Sprintf("front-end-%d", i), "--nats-cluster", "flowjet", "--nats-cluster-listen", routes[i],
			"--nats-routes", "nats://"+strings.Join(routes, ",nats://")))
	}
	c.urls = "nats://" + strings.Join(clients, ",nats://")
	for i := range hosts {
		c.workers = append(c.workers, c.part(t, "worker"))
		c.bridges = append(c.bridges, c.part(t, "bridge"))
		c.api = append(c.api, c.part(t, "api", "--api-listen", c.apis[i]))
	}
	for _, parts := range [][]*process{c.workers, c.bridges, c.api} {
		for _, part := range parts {
			part.says("Ctrl-C stops")
		}
	}
	c.cloud.api = c.apis[0]
	return c
}

// part starts one part on the cluster.
func (c *cluster) part(t *testing.T, name string, more ...string) *process {
	t.Helper()
	return start(t, append([]string{
		name, "--nats-url", c.urls, "--nats-replicas", fmt.Sprint(len(c.nats)), "--one-auth-file", c.auth,
		"--one-xmlrpc", "http://" + c.xmlrpc + "/RPC2", "--one-hooks", "tcp://" + c.hooks, "--look-again", "3s", "--scan-interval", "5s",
	}, more...)...)
}

const pair = `{"name": "pair", "deployment": "straight", "roles": [
	{"name": "Master", "type": "vm", "cardinality": 2, "template_id": 0, "cooldown": 0},
	{"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "cooldown": 0, "parents": ["Master"]}]}`

// TestAnyProcessMayDie kills one process of each kind with -9 while services are
// deployed, and every service comes to RUNNING with exactly its VMs.
func TestAnyProcessMayDie(t *testing.T) {
	if testing.Short() {
		t.Skip("starts thirteen processes")
	}
	c := startCluster(t, 3)
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
		poll.Within(t, time.Minute, fmt.Sprintf("service %d to be RUNNING", service), func() bool { return c.state(t, service) == 2 })
	}
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
func (c *cluster) anywhere(t *testing.T, template int) int {
	t.Helper()
	service := -1
	poll.Within(t, time.Minute, "an API to take a service", func() bool {
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
	auth := filepath.Join(t.TempDir(), "auth")
	c := newCloud(t)
	start(t, "sim", "--data-dir", c.data, "--sim-auth-file", auth, "--sim-xmlrpc-listen", c.xmlrpc,
		"--sim-hooks-listen", c.hooks, "--sim-control-listen", c.control).says(c.xmlrpc)
	if info, err := os.Stat(auth); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the credentials are not in a file for their owner only: %v %v", info, err)
	}
}
