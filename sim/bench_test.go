package sim_test

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"github.com/flowjet/flowjet/sim"
)

// BenchmarkInstantiate is one.template.instantiate over HTTP, with the boot of
// the VM behind it.
func BenchmarkInstantiate(b *testing.B) {
	for name, file := range map[string]string{"memory": "", "state file": "zone.db"} {
		b.Run(name, func(b *testing.B) {
			config := sim.Config{BootDelay: sim.NoDelay}
			if file != "" {
				config.StateFile = filepath.Join(b.TempDir(), file)
			}
			s := start(b, config)
			for b.Loop() {
				instantiate(b, s, "vm", serviceText)
			}
		})
	}
}

// BenchmarkInfo is one.vm.info over HTTP.
func BenchmarkInfo(b *testing.B) {
	s := start(b, sim.Config{BootDelay: sim.NoDelay})
	id := runningVM(b, s)
	for b.Loop() {
		must(b, s, "one.vm.info", oneadmin, id, false)
	}
}

// BenchmarkPool is one.vmpool.infoextended of 1,000 VMs.
func BenchmarkPool(b *testing.B) {
	s := start(b, sim.Config{BootDelay: sim.NoDelay})
	parallel(4, 1000, func(int) { instantiate(b, s, "vm", serviceText) })
	for b.Loop() {
		must(b, s, "one.vmpool.infoextended", oneadmin, -2, -1, -1, -1, "")
	}
}

// BenchmarkHostFails is a host of 1,000 VMs that fails and comes back, with a
// state file and a subscriber: an operation is one VM's event.
func BenchmarkHostFails(b *testing.B) {
	s := start(b, sim.Config{StateFile: filepath.Join(b.TempDir(), "zone.db")})
	populate(b, s, sim.Population{Services: 400, Roles: 2, VMs: 5})
	drain(b, s, "EVENT STATE ")
	b.ReportAllocs()
	b.ResetTimer()
	for told := 0; told < b.N; {
		failed, err := s.FailHost(0)
		if err != nil {
			b.Fatal(err)
		}
		back, err := s.RecoverHost(0)
		if err != nil {
			b.Fatal(err)
		}
		told += failed + back
	}
}

// BenchmarkServiceVMs is one.vmpool.infoextended of a service's ten VMs, as
// their owner asks for them.
func BenchmarkServiceVMs(b *testing.B) {
	s := start(b, sim.Config{})
	populate(b, s, sim.Population{Services: 400, Roles: 2, VMs: 5})
	ask(b, s, requestBody("one.vmpool.infoextended", oneadmin, -2, 1000, 1009, -1, ""))
}

// BenchmarkDocumentUpdate is one.document.update of a service of ten VMs.
func BenchmarkDocumentUpdate(b *testing.B) {
	s := start(b, sim.Config{StateFile: filepath.Join(b.TempDir(), "zone.db")})
	populate(b, s, sim.Population{Services: 1, Roles: 2, VMs: 5})
	_, text, _ := strings.Cut(must(b, s, "one.document.info", oneadmin, 0, false).text, "<TEMPLATE>")
	ask(b, s, requestBody("one.document.update", oneadmin, 0, "<TEMPLATE>"+strings.TrimSuffix(text, "</DOCUMENT>"), 0))
}

func populate(b *testing.B, s *sim.Sim, p sim.Population) {
	b.Helper()
	if err := s.Populate(p); err != nil {
		b.Fatal(err)
	}
}

// ask makes the same call over and over and does not look at the answers, so
// that the simulator's own work is most of what is measured.
func ask(b *testing.B, s *sim.Sim, body string) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.Endpoint(), strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatalf("%s: %v", response.Status, err)
		}
	}
}

// drain subscribes to hook events and throws away what comes.
func drain(b *testing.B, s *sim.Sim, prefix string) {
	b.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.HooksEndpoint(), "tcp://"))
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	b.Cleanup(func() { _ = connection.Close(); <-ended })
	socket, err := zmq4.Open(connection, null.Security(), zmq4.Sub, nil, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := socket.SendMsg(zmq4.NewMsg(append([]byte{1}, prefix...))); err != nil {
		b.Fatal(err)
	}
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, connection)
	}()
	if err := s.WaitSubscribed(b.Context(), prefix); err != nil {
		b.Fatal(err)
	}
}
