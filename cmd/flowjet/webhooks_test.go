package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
)

// secured is a NATS server with users and TLS, and what a process needs for it.
type secured struct {
	cloud
	keys, zone string // the folder of keys, and the simulator's
}

func startSecured(t *testing.T) secured {
	t.Helper()
	s := secured{cloud: newCloud(t), keys: t.TempDir(), zone: t.TempDir()}
	if err := app.MakeKeys(s.keys); err != nil {
		t.Fatal(err)
	}
	if err := app.MakeHosts(s.keys, []string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	file, host := filepath.Join(s.keys, "server.conf"), filepath.Join(s.keys, "hosts", "127.0.0.1")
	text := fmt.Sprintf("include accounts.conf\ntls { cert_file: %q, key_file: %q, timeout: 10 }\n", filepath.Join(host, "server.pem"), filepath.Join(host, "server.key"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "nats", "--data-dir", s.data, "--nats-listen", s.nats, "--nats-server-file", file).says("Ctrl-C stops")
	start(t, "sim", "--data-dir", s.zone, "--sim-listen", s.simulator()).says("Ctrl-C stops")
	provision := start(t, append([]string{"nats", "provision"}, s.flags()...)...)
	provision.wait()
	if provision.err != nil {
		t.Fatal(provision.output.String())
	}
	return s
}

// flags are the same for every part and for an operator.
func (s secured) flags() []string {
	return []string{
		"--nats-url", "tls://" + s.nats, "--nats-ca-file", filepath.Join(s.keys, "ca.pem"), "--nats-nkey-file", filepath.Join(s.keys, "{role}.nk"),
		"--nats-provision=false", "--one-xmlrpc", "http://" + s.xmlrpc + "/RPC2", "--one-hooks", "tcp://" + s.hooks, "--one-auth-file", filepath.Join(s.zone, app.SimulatedAuthFile),
		"--default-cooldown", "1ms",
	}
}

// part starts one part, with a data folder of its own.
func (s secured) part(t *testing.T, part string, more ...string) *process {
	t.Helper()
	return start(t, append(append([]string{part, "--data-dir", t.TempDir()}, s.flags()...), more...)...)
}

// hooked is a receiver that has workers killed in the middle of deliveries.
type hooked struct {
	mutex sync.Mutex
	// doom asks for a kill, during which nothing is answered; killed confirms it.
	doom, killed chan struct{}
	posts        int
	// last is the number of each service's last transition that came.
	last  map[string]int
	wrong []string
}

// killsAt are the posts during which a worker is killed.
var killsAt = []int{10, 35, 60}

func (h *hooked) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.posts++
	id := in.Header.Get("Webhook-Id")
	var number int
	service, text, _ := strings.Cut(id, "-")
	_, err := fmt.Sscanf(text, "%d", &number)
	// The next, or once more the one that nobody could note as taken.
	if err != nil || number != h.last[service] && number != h.last[service]+1 {
		h.wrong = append(h.wrong, fmt.Sprintf("%s came behind %s-%d", id, service, h.last[service]))
	}
	h.last[service] = max(h.last[service], number)
	if slices.Contains(killsAt, h.posts) {
		h.doom <- struct{}{}
		<-h.killed
	}
	if h.posts%7 == 0 {
		out.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (h *hooked) heardOf(service int) int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.last[fmt.Sprint(service)]
}

// TestWebhooksOutliveTheirWorkers has two workers deliver, each with a NATS user
// that may do a worker's part only, and kills them in the middle of deliveries, which
// also fail at times. Each transition comes, and those of a service in their order.
func TestWebhooksOutliveTheirWorkers(t *testing.T) {
	s := startSecured(t)
	receiver := &hooked{last: map[string]int{}, doom: make(chan struct{}, 1), killed: make(chan struct{}, 1)}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(receiver.killed) }) // no delivery waits for a test that has failed
	file := filepath.Join(t.TempDir(), "webhooks.yaml")
	text := fmt.Sprintf("receivers:\n  - name: all\n    url: %s\n    kinds: [service, role, vm, network, router]\n"+
		"allow_addresses: [127.0.0.0/8]\nfirst_pause: 10ms\nlongest_pause: 50ms\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	workers := []*process{s.part(t, "worker", "--webhooks-file", file), s.part(t, "worker", "--webhooks-file", file)}
	parts := append([]*process{s.part(t, "bridge"), s.part(t, "api", "--api-listen", s.api)}, workers...)
	for _, part := range parts {
		part.says("Ctrl-C stops")
	}
	var services []int
	for range 8 {
		services = append(services, s.instantiate(t, `{"name": "pair", "deployment": "straight", "roles": [
			{"name": "a", "type": "vm", "cardinality": 1, "template_id": 0},
			{"name": "b", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["a"]}]}`))
	}
	for i := range killsAt {
		poll.Until(t, "the middle of a delivery", func() bool { return len(receiver.doom) > 0 })
		<-receiver.doom
		victim := workers[i%len(workers)]
		victim.kill()
		receiver.killed <- struct{}{}
		victim.again()
	}
	for _, service := range services {
		poll.Until(t, fmt.Sprintf("service %d to run", service), func() bool { return s.state(t, service) == 2 })
	}
	o := operator{t: t, environment: append(os.Environ(), asCommand+"=1")}
	for _, service := range services {
		told := 0
		poll.Until(t, fmt.Sprintf("everything about service %d to be delivered", service), func() bool {
			out, failed, err := o.types(append([]string{"events", "--service", fmt.Sprint(service), "-n", "0", "-o", "json"}, s.flags()...)...)
			if err != nil {
				t.Fatal(failed)
			}
			told = strings.Count(out, "\n")
			return told > 5 && receiver.heardOf(service) == told
		})
	}
	receiver.mutex.Lock()
	defer receiver.mutex.Unlock()
	if len(receiver.wrong) > 0 {
		t.Errorf("not in order:\n%s", strings.Join(receiver.wrong, "\n"))
	}
	for _, part := range parts {
		if said := part.output.String(); strings.Contains(said, "iolation") {
			t.Errorf("%s was denied something:\n%s", part.arguments[0], said)
		}
	}
}
