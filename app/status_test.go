package app

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/spf13/pflag"
)

// A process without an API tells how its bridge hears each endpoint, and its
// metrics.
func TestStatusOfABridgeAlone(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	must(t, flags.Parse([]string{
		"--sim", "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0",
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
	}))
	config, err := ReadConfig("", flags)
	must(t, err)
	a := New(config, []Part{PartNATS, PartSim, PartBridge}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, a.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, a.Stop(ctx))
	})
	must(t, a.Sim().WaitSubscribed(t.Context(), "EVENT STATE VM/ACTIVE/RUNNING/1 "))
	var view statusView
	must(t, json.Unmarshal([]byte(get(t, "http://"+a.statusAddress+"/health")), &view))
	if len(view.Feeds) != 1 || view.Feeds[0].Endpoint != a.Sim().HooksEndpoint() || !view.Feeds[0].Connected || !view.Ready {
		t.Errorf("health %+v", view)
	}
	get(t, "http://"+a.statusAddress+"/health/live")
	get(t, "http://"+a.statusAddress+"/debug/pprof/heap?debug=1")
	if text := get(t, "http://"+a.statusAddress+"/metrics"); !strings.Contains(text, `flowjet_bridge_connected{endpoint="`+view.Feeds[0].Endpoint+`"} 1`) {
		t.Error("the metrics do not tell of the endpoint")
	}
}

func TestProfilesAreForThisHost(t *testing.T) {
	for from, want := range map[string]int{
		"127.0.0.1:4711": http.StatusOK, "[::1]:4711": http.StatusOK, "[::ffff:127.0.0.1]:4711": http.StatusOK,
		"10.0.0.7:4711": http.StatusForbidden, "[fe80::1%eth0]:4711": http.StatusForbidden, "": http.StatusForbidden,
	} {
		request, answer := httptest.NewRequest(http.MethodGet, "/debug/pprof/cmdline", nil), httptest.NewRecorder()
		request.RemoteAddr = from
		overLoopback(func(http.ResponseWriter, *http.Request) {})(answer, request)
		if answer.Code != want {
			t.Errorf("a request from %q is answered %d, want %d", from, answer.Code, want)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	must(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", url, response.Status)
	}
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
