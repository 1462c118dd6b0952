package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
)

// A process says what holds it up, as NATS and oned go and come back, and is live all the time: restarting it would mend nothing.
func TestWhatHoldsAProcessUp(t *testing.T) {
	t.Parallel()
	node := natstest.NewNode(t)
	xmlrpc, hooks := ports.Free(t, 2)[0], ports.Free(t, 1)[0]
	data := t.TempDir()
	simulator := []string{"--sim", "--data-dir", data, "--sim-listen", xmlrpc + "," + hooks + ",127.0.0.1:0"}
	cloud, err := starts(t, t.Context(), []Part{PartSim}, simulator...)
	must(t, err)
	a, err := starts(t, t.Context(), []Part{PartWorker, PartBridge}, "--data-dir", t.TempDir(), "--nats-url", node.URL(), "--status-listen", "127.0.0.1:0",
		"--one-xmlrpc", "http://"+xmlrpc+"/RPC2", "--one-hooks", "tcp://"+hooks, "--one-auth-file", data+"/"+SimulatedAuthFile)
	must(t, err)
	status := func(path string) int {
		answer, err := http.Get("http://" + a.statusAddress + path)
		must(t, err)
		answer.Body.Close()
		return answer.StatusCode
	}
	holds := func(want string) {
		t.Helper()
		poll.Until(t, "the process to say "+want, func() bool {
			said := strings.Join(heldUp(a), "\n")
			return want == "" && said == "" || want != "" && strings.Contains(said, want)
		})
		ready := http.StatusOK
		if want != "" {
			ready = http.StatusServiceUnavailable
		}
		if got := status("/health"); got != ready {
			t.Errorf("held up by %q its health is %d", want, got)
		}
		if got := status("/health/live"); got != http.StatusOK {
			t.Errorf("held up by %q it is live with %d", want, got)
		}
	}
	holds("")
	node.Stop()
	holds("NATS has been unreachable since ")
	node.Start()
	holds("")
	stopApp(t, cloud)
	holds("no endpoint of hook events is connected: ")
	_, err = starts(t, t.Context(), []Part{PartSim}, simulator...)
	must(t, err)
	holds("")
	select {
	case <-a.Lost():
		t.Error("the process counts its connection as lost for good")
	default:
	}
}

// A process without NATS has no connection that it could lose.
func TestAProcessWithoutNATSLosesNothing(t *testing.T) {
	t.Parallel()
	cloud, _ := newSim(t, anyPorts)
	if cloud.Lost() != nil || cloud.APIAddress() != "" || len(heldUp(cloud)) > 0 {
		t.Errorf("a simulator alone: %v, %q, %v", cloud.Lost(), cloud.APIAddress(), heldUp(cloud))
	}
}
