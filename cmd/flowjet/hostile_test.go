package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

// hostileVariable has the suite try everything in its full size: `make hostile`.
const hostileVariable = "FLOWJET_HOSTILE"

// besieged is a running Flowjet, a tenant who means it ill, and a customer.
type besieged struct {
	t *testing.T
	cloud
	up   *process
	oned *opennebula.Client
	full bool
}

// as sends a request as alice, the tenant, and returns the status; 0 without an answer.
func (b *besieged) as(user, method, path string, body io.Reader, headers ...string) (int, []byte) {
	request, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.api+path, body)
	if err != nil {
		return 0, nil
	}
	name, secret, _ := strings.Cut(user, ":")
	request.SetBasicAuth(name, secret)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Timeout: poll.Limit}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil
	}
	return answer.StatusCode, text
}

func (b *besieged) alice(method, path, body string) int {
	status, _ := b.as("alice:alice", method, path, strings.NewReader(body))
	return status
}

// times is how often something is done: a tenth of it in the short form.
func (b *besieged) times(full int) int {
	if b.full {
		return full
	}
	return max(1, full/10)
}

// serves makes sure that the customer is served as always, and the tenant too.
func (b *besieged) serves(after string) {
	b.t.Helper()
	began := time.Now()
	// The simulated oned is in the same process, and on a busy machine it may answer late.
	poll.Until(b.t, "all to be well after "+after, func() bool {
		status, text := b.as("", "GET", "/flowjet/v1/health", http.NoBody)
		if status != http.StatusOK {
			b.t.Logf("health is %d: %s", status, text)
		}
		return status == http.StatusOK
	})
	service := b.instantiate(b.t, `{"name":"customer","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	poll.Until(b.t, "the customer's service to run after "+after, func() bool { return b.state(b.t, service) == int(spec.ServiceRunning) })
	b.request(b.t, "DELETE", fmt.Sprintf("/service/%d", service), "", http.StatusNoContent)
	poll.Until(b.t, "the customer's service to be gone after "+after, func() bool { return b.state(b.t, service) < 0 })
	if took := time.Since(began); took > time.Minute {
		b.t.Errorf("after %s a service takes %v", after, took)
	}
	if b.up.gone() {
		b.t.Fatalf("after %s Flowjet has ended", after)
	}
}

// attack is something that must not matter.
type attack struct {
	name string
	do   func(b *besieged)
}

var attacks = []attack{
	{"names of any length", func(b *besieged) {
		long := strings.Repeat("n", 5000)
		b.refused(`{"name":"x","roles":[],"networks":{"` + long + `":"M|network|n| |id:0"}}`)
		b.refused(`{"name":"x","roles":[{"name":"` + long + `","type":"vm","template_id":0}]}`)
		b.refused(`{"name":"` + long + `","roles":[]}`)
		for _, body := range []string{
			`{"name":"x","deployment":"none","state":0,"roles":[{"name":"` + long + `","type":"vm","cardinality":1,"template_id":0,"state":0}]}`,
			`{"name":"x","deployment":"none","state":0,"roles":[],"networks":{"` + long + `":"M|network|n| |template_id:0"},"networks_values":[{"` + long + `":{"template_id":"0"}}]}`,
		} {
			service, err := b.oned.With("alice", "alice").AllocateDocument(b.t.Context(), spec.DocumentTypeService, "x", []byte(body))
			if err != nil {
				b.t.Error(err)
			}
			b.alice("DELETE", fmt.Sprintf("/service/%d", service), "")
		}
	}},
	{"documents of any shape", func(b *besieged) {
		for _, body := range []string{
			``, `null`, `[]`, `{`, `{"state":0}`, `{"state":2,"roles":[{"nodes":[{"deploy_id":-1}]}]}`, `{"state":99,"roles":7}`, "{\"name\":\"\x00\xff\",\"state\":1,\"roles\":[]}",
			`{"name":"x","state":0,"roles":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
			`{"name":"x","state":2,"deployment":"straight","roles":[{"name":"a","parents":["b"],"state":2,"cardinality":2000000000},{"name":"b","parents":["a"],"state":2}]}`,
			`{"name":"x","state":0,"roles":[{"name":"*.>","type":"vm","cardinality":1,"template_id":0,"state":0,"scheduled_policies":[` +
				strings.Repeat(`{"type":"CHANGE","adjust":1,"recurrence":"0 0 29 2 *"},`, 8000) + `{}]}]}`,
		} {
			service, err := b.oned.With("alice", "alice").AllocateDocument(b.t.Context(), spec.DocumentTypeService, "x", []byte(body))
			if err != nil {
				continue // oned refuses it
			}
			for _, call := range [][2]string{{"GET", ""}, {"DELETE", ""}} {
				b.alice(call[0], fmt.Sprintf("/service/%d%s", service, call[1]), "")
			}
			b.alice("POST", fmt.Sprintf("/service/%d/action", service), `{"action":{"perform":"recover","params":{"delete":true}}}`)
		}
	}},
	{"bodies that cost", func(b *besieged) {
		elements := func(count int) string {
			var all []string
			for i := range count {
				all = append(all, fmt.Sprintf(`{"a":%d}`, i))
			}
			return strings.Join(all, ",")
		}
		_, text := b.as("alice:alice", "POST", "/service_template", strings.NewReader(`{"name":"x","roles":[],"x":[`+elements(3000)+`]}`))
		merge := fmt.Sprintf(`{"action":{"perform":"instantiate","params":{"merge_template":{"x":[%s]}},"dry_run":true}}`, elements(30_000))
		id := b.id(b.t, text)
		var all sync.WaitGroup
		for range b.times(20) {
			all.Go(func() { b.alice("POST", fmt.Sprintf("/service_template/%d/action?dry_run=true", id), merge) })
			all.Go(func() {
				b.alice("POST", "/service_template", `{"name":"x","roles":[`+strings.Repeat("{},", 40_000)+`{}]}`)
			})
		}
		began := time.Now()
		b.serves("the beginning of bodies that cost")
		all.Wait()
		if took := time.Since(began); took > poll.Limit {
			b.t.Errorf("the bodies took %v", took)
		}
	}},
	{"bodies that come slowly", func(b *besieged) {
		var open []net.Conn
		for range b.times(620) {
			if conn, err := net.Dial("tcp", b.api); err == nil {
				_, _ = io.WriteString(conn, "POST /service_template HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWxpY2U6YWxpY2U=\r\nContent-Length: 1000\r\n\r\n{")
				open = append(open, conn)
			}
		}
		b.serves("slow bodies, while they come")
		for _, conn := range open {
			conn.Close()
		}
	}},
	{"idle and endless connections", func(b *besieged) {
		var open []net.Conn
		for i := range b.times(3000) {
			if conn, err := net.Dial("tcp", b.api); err == nil {
				open = append(open, conn)
				if i%10 == 0 {
					_, _ = io.WriteString(conn, "POST /service_template HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic YWxpY2U6YWxpY2U=\r\n\r\n"+strings.Repeat("1\r\nx\r\n", 100))
				}
			}
		}
		b.serves("idle connections, while they are there")
		for _, conn := range open {
			conn.Close()
		}
	}},
	{"event streams", func(b *besieged) {
		var bodies []io.Closer
		for range b.times(200) + 30 {
			request, _ := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://"+b.api+"/flowjet/v1/events", nil)
			request.SetBasicAuth("alice", "alice")
			if answer, err := http.DefaultClient.Do(request); err == nil {
				bodies = append(bodies, answer.Body)
			}
		}
		request, _ := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://"+b.api+"/flowjet/v1/events", nil)
		request.SetBasicAuth("oneadmin", "opennebula")
		answer, err := http.DefaultClient.Do(request)
		if err != nil || answer.StatusCode != http.StatusOK {
			b.t.Errorf("the customer gets no event stream: %v %v", answer, err)
		} else {
			answer.Body.Close()
		}
		for _, body := range bodies {
			body.Close()
		}
	}},
	{"headers, paths and credentials", func(b *besieged) {
		for _, path := range []string{"/service/../service", "//debug//pprof/", "/service/%2e%2e/x", "/service/-1", "/service/99999999999999999999", "/service/1%00", "/flowjet/v1/commands/*", "/flowjet/v1/commands/key-x", "/flowjet/v1/services/%3E/why", "/debug/pprof/", "/service/x/scale"} {
			if status := b.alice("GET", path, ""); status < 400 {
				b.t.Errorf("GET %s: %d", path, status)
			}
		}
		for range b.times(300) {
			status, _ := b.as("alice:wrong", "GET", "/service", http.NoBody, "X-Padding", strings.Repeat("x", 10_000))
			if status == http.StatusOK {
				b.t.Error("a wrong password was taken")
			}
		}
		b.as("alice:alice", "GET", "/service", http.NoBody, "X-Padding", strings.Repeat("x", 2<<20))
		b.refused(strings.Repeat("[", 100_000))
		b.refused("{\"name\":\"\xff\x00\",\"roles\":[]}")
		b.refused(`{"name":"x","roles":[{"name":"a","type":"vm","template_id":0,"min_vms":0,"max_vms":1,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"` + strings.Repeat("(", 400_000) + `"}]}]}`)
	}},
	{"another's services", func(b *besieged) {
		service := b.instantiate(b.t, `{"name":"private","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
		at := fmt.Sprintf("/service/%d", service)
		poll.Until(b.t, "the private service to run", func() bool { return b.state(b.t, service) == int(spec.ServiceRunning) })
		for _, call := range [][3]string{
			{"GET", at, ""}, {"DELETE", at, ""}, {"PUT", at, `{"name":"x"}`}, {"POST", at + "/scale", `{"role_name":"a","cardinality":0,"force":true}`},
			{"POST", at + "/action", `{"action":{"perform":"recover","params":{"delete":true}}}`}, {"POST", at + "/action", `{"action":{"perform":"chown","params":{"owner_id":2}}}`},
			{"POST", at + "/role/a/action", `{"action":{"perform":"terminate-hard"}}`}, {"POST", at + "/role_action", `{"action":{"perform":"remove_role","params":{"role":"a"}}}`},
			{"GET", fmt.Sprintf("/flowjet/v1/services/%d/why", service), ""}, {"GET", fmt.Sprintf("/flowjet/v1/events?service=%d", service), ""}, {"GET", "/flowjet/v1/work", ""},
		} {
			if status := b.alice(call[0], call[1], call[2]); status < 400 {
				b.t.Errorf("%s %s of another's service: %d", call[0], call[1], status)
			}
		}
		if state := b.state(b.t, service); state != int(spec.ServiceRunning) {
			b.t.Errorf("the private service is in state %d", state)
		}
		b.request(b.t, "DELETE", at, "", http.StatusNoContent)
	}},
	{"forged VMs", func(b *besieged) {
		service := b.instantiate(b.t, `{"name":"target","roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0}]}`)
		alice := b.oned.With("alice", "alice")
		var forged []int
		for i := range b.times(30) {
			id, err := alice.InstantiateTemplate(b.t.Context(), 0, "forged", false, fmt.Sprintf("SERVICE_ID=\"%d\"\nROLE_NAME=\"a\"\nFLOWJET_KEY=\"%d-a-%d-kx3j9\"\n", service, service, i))
			if err != nil {
				b.t.Fatal(err)
			}
			forged = append(forged, id)
		}
		poll.Until(b.t, "the target to run", func() bool { return b.state(b.t, service) == int(spec.ServiceRunning) })
		b.request(b.t, "DELETE", fmt.Sprintf("/service/%d", service), "", http.StatusNoContent)
		poll.Until(b.t, "the target to be gone", func() bool { return b.state(b.t, service) < 0 })
		for _, id := range forged {
			if vm, err := alice.VM(b.t.Context(), id); err != nil || vm.Ending() {
				b.t.Errorf("VM %d of alice's was ended: %+v %v", id, vm, err)
			}
		}
	}},
	{"NATS without a key", func(b *besieged) {
		conn, err := nats.Connect("nats://"+b.nats, nats.Timeout(poll.Limit))
		if err == nil {
			_ = conn.Publish("flow.work.1", []byte(`{"v":1,"service":1,"command":{"verb":"undeploy","service":1}}`))
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			b.t.Errorf("somebody without a key is let in: %v", err)
		}
		for range b.times(200) {
			if raw, err := net.Dial("tcp", b.nats); err == nil {
				_, _ = raw.Write(bytes.Repeat([]byte("PUB x 1\r\n"), 1000))
				raw.Close()
			}
		}
	}},
	{"noise where hook events are heard", func(b *besieged) {
		for range b.times(50) {
			if raw, err := net.Dial("tcp", b.hooks); err == nil {
				_, _ = raw.Write(bytes.Repeat([]byte{0xff, 0, 1, 0x7f}, 10_000))
				raw.Close()
			}
		}
	}},
	{"kill -9 in the middle", func(b *besieged) {
		service := b.instantiate(b.t, `{"name":"survivor","roles":[{"name":"a","type":"vm","cardinality":3,"template_id":0}]}`)
		b.up.kill()
		b.up = b.cloud.up(b.t)
		poll.Until(b.t, "the survivor to run or to be gone with the simulator's last moments", func() bool {
			state := b.state(b.t, service)
			return state == int(spec.ServiceRunning) || state < 0
		})
	}},
}

// refused makes sure that a template is not taken.
func (b *besieged) refused(body string) {
	b.t.Helper()
	if status := b.alice("POST", "/service_template", body); status < 400 || status > 499 {
		b.t.Errorf("%.60s...: %d", body, status)
	}
}

// TestHostile tries on a fresh Flowjet what tenants must not be able to do, one after the
// other; after each the customer is served.
func TestHostile(t *testing.T) {
	c := newCloud(t)
	b := &besieged{t: t, cloud: c, up: c.up(t), full: os.Getenv(hostileVariable) != ""}
	b.oned = opennebula.NewClient(opennebula.Config{Endpoint: "http://" + c.xmlrpc + "/RPC2"})
	t.Cleanup(b.oned.Close)
	b.serves("the start")
	for _, attack := range attacks {
		if !t.Run(strings.ReplaceAll(attack.name, " ", "_"), func(t *testing.T) {
			b.t = t
			attack.do(b)
			b.serves(attack.name)
		}) {
			t.Logf("Flowjet printed:\n%s", b.up.tail())
		}
		b.t = t
	}
}
