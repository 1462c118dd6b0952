package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// stand is a whole Flowjet over the simulator, without boot or call delays.
type stand struct {
	app  *app.App
	oned *opennebula.Client
	http *http.Client
	// metrics is where the app's are served, host:port.
	metrics string
}

func newStand(b *testing.B, arguments ...string) *stand {
	b.Helper()
	metrics := ports.Free(b, 1)[0]
	parts := []app.Part{app.PartNATS, app.PartSim, app.PartNarrator, app.PartWorker, app.PartBridge, app.PartAPI}
	flowjet := startApp(b, parts, append([]string{"--sim", "--data-dir", b.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
		"--status-listen", metrics, "--sim-boot-delay", "0s"}, arguments...)...)
	credentials, err := opennebula.ParseCredentials(flowjet.Sim().ServerCredentials())
	must(b, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: flowjet.Sim().Endpoint(), Credentials: credentials})
	b.Cleanup(oned.Close)
	return &stand{app: flowjet, oned: oned, http: &http.Client{Timeout: 30 * time.Second}, metrics: metrics}
}

// stopApp releases what an app has acquired.
func stopApp(running *app.App) {
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	_ = running.Stop(ctx)
}

// post sends a request as oneadmin and returns the answer's body.
func (s *stand) post(b *testing.B, path, body string) string {
	b.Helper()
	status, answer, err := ask(b.Context(), s.http, http.MethodPost, "http://"+s.app.APIAddress()+path, body)
	must(b, err)
	if status >= 300 {
		b.Fatalf("POST %s: %d: %s", path, status, answer)
	}
	return answer
}

// ask sends a request as oneadmin and returns the answer's status and body.
func ask(ctx context.Context, client *http.Client, method, url, body string) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.SetBasicAuth("oneadmin", "opennebula")
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// idOf is the id of the document in an answer.
func idOf(answer string) string {
	_, rest, _ := strings.Cut(answer, `"ID": "`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

const instantiate = `{"action": {"perform": "instantiate"}}`

// template registers a template and returns the path that instantiates it.
func (s *stand) template(b *testing.B, body string) string {
	b.Helper()
	return "/service_template/" + idOf(s.post(b, "/service_template", body)) + "/action"
}

// quantile is the q-th part of the sorted samples.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// farOff is how many times worse than wanted a ratio to a floor has to be for a benchmark to fail. A noisy machine does not explain that: floor and
// figure are of the same run.
const farOff = 3

// notFar fails the benchmark where a ratio is far above the one wanted.
func notFar(b *testing.B, what string, ratio, wanted float64) {
	b.Helper()
	if ratio > farOff*wanted {
		b.Errorf("%s: %.2f floors, %.2f are wanted", what, ratio, wanted)
	}
}

// report prints a row of the table and hands the figures to the benchmark.
func report(b *testing.B, what string, ours, floor []time.Duration) {
	b.Helper()
	p50, p99, least := quantile(ours, 0.50), quantile(ours, 0.99), quantile(floor, 0.50)
	fmt.Printf("%-58s p50 %8s  p99 %8s  floor p50 %8s  ratio %.1f  (%d samples)\n",
		what, p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond), least.Round(10*time.Microsecond),
		float64(p50)/float64(max(least, 1)), len(ours))
	b.ReportMetric(float64(p50.Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(p50)/float64(max(least, 1)), "x-floor")
	b.ReportMetric(0, "ns/op")
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// acquire takes a feed over from whoever had it.
func acquire(ctx context.Context, p *pipeline.Pipeline, feed, holder string) (*feeds.Lease, error) {
	all := feeds.New(p)
	_, last, err := all.LastLease(ctx, feed)
	if err != nil {
		return nil, err
	}
	return all.Acquire(ctx, feed, holder, last)
}
