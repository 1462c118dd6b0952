package bench

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// onedVariable is the XML-RPC endpoint of a real oned on which the fleet and the lists are
	// measured instead of on the simulator, onedAuthVariable the file with its server user's
	// name and password. Its oneadmin has the password opennebula; what it holds is ended.
	onedVariable     = "FLOWJET_BENCH_ONED"
	onedAuthVariable = "FLOWJET_BENCH_ONED_AUTH"
	// onedTemplateVariable is the id of the VM template, 0 unless given.
	onedTemplateVariable = "FLOWJET_BENCH_ONED_TEMPLATE"
)

// What oned takes, as measured: a read, and a write, of which it makes one at a time.
const (
	readCost  = 3 * time.Millisecond
	writeCost = 15 * time.Millisecond
)

// isReal reports whether a real oned is measured.
func isReal() bool { return os.Getenv(onedVariable) != "" }

// vmTemplate is the id of the VM template of all VMs.
func vmTemplate(b *testing.B) int {
	b.Helper()
	id, err := strconv.Atoi("0" + os.Getenv(onedTemplateVariable))
	must(b, err)
	return id
}

// costly is a stand over a real oned, or over a simulated one that takes its time.
func costly(b *testing.B) *stand {
	b.Helper()
	if isReal() {
		return realStand(b)
	}
	s := newStand(b, "--sim-boot-delay", "10ms", "--sim-time-percent", "10")
	s.app.Sim().SetCallDelay("", readCost)
	for _, write := range []string{"template.instantiate", "vm.action", "document.allocate", "document.update", "document.delete"} {
		s.app.Sim().SetCallDelay("one."+write, writeCost)
	}
	s.app.Sim().SetSerialisedWrites(true)
	return s
}

// realStand is a whole Flowjet over a real oned.
func realStand(b *testing.B) *stand {
	b.Helper()
	endpoint, file := os.Getenv(onedVariable), os.Getenv(onedAuthVariable)
	address, err := url.Parse(endpoint)
	must(b, err)
	secret, err := os.ReadFile(file)
	must(b, err)
	credentials, err := opennebula.ParseCredentials(string(secret))
	must(b, err)
	metrics := ports.Free(b, 1)[0]
	parts := []app.Part{app.PartNATS, app.PartNarrator, app.PartWorker, app.PartBridge, app.PartAPI}
	flowjet := startApp(b, parts, "--data-dir", b.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--status-listen", metrics,
		"--one-xmlrpc", endpoint, "--one-hooks", "tcp://"+address.Hostname()+":2101", "--one-auth-file", file)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: endpoint, Credentials: credentials})
	b.Cleanup(oned.Close)
	return &stand{app: flowjet, oned: oned, http: &http.Client{Timeout: time.Minute}, metrics: metrics}
}

// counts are the calls to oned that Flowjet has made so far, by method.
func (s *stand) counts(b *testing.B) map[string]int {
	b.Helper()
	response, err := s.http.Get("http://" + s.metrics + "/metrics")
	must(b, err)
	defer response.Body.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		method, is := strings.CutPrefix(lines.Text(), `flowjet_oned_call_seconds_count{method="one.`)
		if method, count, found := strings.Cut(method, `"} `); is && found {
			counts[method], err = strconv.Atoi(count)
			must(b, err)
		}
	}
	must(b, lines.Err())
	return counts
}

// waitFor looks four times a second, which costs a real oned little.
func waitFor(b *testing.B, what string, condition func() bool) {
	b.Helper()
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); <-ticker.C {
		if time.Now().After(deadline) {
			b.Fatalf("waited in vain for %s", what)
		}
	}
}

// load is the machine's load average of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	average, _, _ := strings.Cut(string(text), " ")
	return fmt.Sprintf("(load %s)", average)
}
