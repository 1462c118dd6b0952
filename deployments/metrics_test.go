package deployments

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
)

var update = flag.Bool("update", false, "write the metrics into docs/metrics.md")

const metricsPage = "../docs/metrics.md"

// TestMetricsAreWhatTheyAreSaidToBe has everything run, takes a service through
// some of its life, and holds the metrics of that run against the page, the
// alert rules and the dashboard.
func TestMetricsAreWhatTheyAreSaidToBe(t *testing.T) {
	families := scrapeALife(t)
	checkPage(t, families)
	checkLabels(t, families)
	expressions := append(ruleExpressions(t), panelExpressions(t)...)
	for i, names := range namesIn(t, expressions) {
		if len(names) == 0 {
			t.Errorf("%s asks for no metric", expressions[i])
		}
		for _, name := range names {
			family := families[name]
			if family == nil {
				family = families[strings.TrimSuffix(name, "_bucket")]
			}
			if family == nil || len(family.GetMetric()) == 0 {
				t.Errorf("%s asks for %s, of which a run has no data", expressions[i], name)
			}
		}
	}
}

// scrapeALife is what a process with all parts tells after a service has run.
func scrapeALife(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	app.AddFlags(flags)
	if err := flags.Parse([]string{
		"--sim", "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
	}); err != nil {
		t.Fatal(err)
	}
	config, err := app.ReadConfig("", flags)
	if err != nil {
		t.Fatal(err)
	}
	running := app.New(config, app.Everything(config), "1.2.3", io.Discard, slog.New(slog.DiscardHandler))
	if err := running.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		_ = running.Stop(stopping)
	}()
	api := "http://" + running.APIAddress()
	request(t, api+"/service_template", `{"name": "a", "roles": [{"name": "r", "type": "vm", "cardinality": 2, "template_id": 0}]}`)
	request(t, api+"/service_template/0/action", `{"action": {"perform": "instantiate"}}`)
	var families map[string]*dto.MetricFamily
	poll.Until(t, "a run with events, wake-ups and calls", func() bool {
		families = parse(t, request(t, api+"/metrics", ""))
		return families["flowjet_bridge_events_total"] != nil && families["flowjet_worker_actions_total"] != nil && families["flowjet_workers"] != nil &&
			families["flowjet_bridge_resyncs_total"] != nil && runningServices(families) == 1
	})
	return families
}

// runningServices is how many services are RUNNING.
func runningServices(families map[string]*dto.MetricFamily) float64 {
	for _, metric := range families["flowjet_services"].GetMetric() {
		if metric.GetLabel()[0].GetValue() == "RUNNING" {
			return metric.GetGauge().GetValue()
		}
	}
	return 0
}

// request posts a body, or gets without one.
func request(t *testing.T, url, body string) []byte {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	asked, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	asked.SetBasicAuth("oneadmin", "opennebula")
	answer, err := http.DefaultClient.Do(asked)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s: %d %s %v", url, answer.StatusCode, text, err)
	}
	return text
}

func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// ours are the names of Flowjet's own metrics, in order.
func ours(families map[string]*dto.MetricFamily) []string {
	var names []string
	for name := range families {
		if strings.HasPrefix(name, "flowjet_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkPage: the page lists every metric, as it is, and no other.
func checkPage(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	const head = "|---|---|---|---|\n"
	var table strings.Builder
	for _, name := range ours(families) {
		family := families[name]
		labels := []string{}
		if metrics := family.GetMetric(); len(metrics) > 0 {
			for _, label := range metrics[0].GetLabel() {
				labels = append(labels, "`"+label.GetName()+"`")
			}
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), strings.TrimSuffix(family.GetHelp(), "."))
	}
	page := read(t, metricsPage)
	before, after, found := strings.Cut(page, head)
	if !found {
		t.Fatalf("%s has no table", metricsPage)
	}
	_, rest, more := strings.Cut(after, "\n\n")
	if more {
		rest = "\n" + rest
	}
	wanted := before + head + table.String() + rest
	switch {
	case page == wanted:
	case *update:
		if err := os.WriteFile(metricsPage, []byte(wanted), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s differs from the metrics: `go test ./deployments -run Metrics -update` mends it; the table should be\n%s", metricsPage, table.String())
	}
}

// allowed are the labels whose values are few by their nature.
var allowed = []string{"object", "outcome", "endpoint", "kind", "route", "status", "result", "partition", "version", "go", "le", "method", "member", "state"}

// checkLabels: names follow the convention, and no label can grow without bound.
func checkLabels(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	for _, name := range ours(families) {
		family := families[name]
		if isCounter := family.GetType() == dto.MetricType_COUNTER; isCounter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s: counters and only they end in _total", name, family.GetType())
		}
		if family.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !slices.Contains(allowed, label.GetName()) {
					t.Errorf("%s has the label %s, whose values may be without bound", name, label.GetName())
				}
			}
		}
	}
}

// TestAlertRules has each rule fire on data written for it, and not where all is well.
func TestAlertRules(t *testing.T) {
	tests := exec.CommandContext(t.Context(), "go", "run", "-C", "../tools/promql", ".", "test", "../../deployments/prometheus/flowjet.rules.test.yaml")
	if said, err := tests.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

func ruleExpressions(t *testing.T) []string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expression  string            `yaml:"expr"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/flowjet.rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	troubles := read(t, "../docs/troubleshooting.md")
	var expressions []string
	for _, rule := range file.Groups[0].Rules {
		expressions = append(expressions, rule.Expression)
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("the alert %s has no severity or summary", rule.Alert)
		}
		if !strings.Contains(troubles, rule.Alert) {
			t.Errorf("docs/troubleshooting.md does not say what to do about %s", rule.Alert)
		}
	}
	return expressions
}

func panelExpressions(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expression string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/flowjet.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var expressions []string
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expression)
		}
	}
	return expressions
}

// namesIn has Prometheus's own parser, of tools/promql, find the metrics.
func namesIn(t *testing.T, expressions []string) [][]string {
	t.Helper()
	parser := exec.CommandContext(t.Context(), "go", "run", "-C", "../tools/promql", ".", "names")
	parser.Stdin = strings.NewReader(strings.Join(expressions, "\n") + "\n")
	var failed bytes.Buffer
	parser.Stderr = &failed
	answer, err := parser.Output()
	if err != nil {
		t.Fatalf("parse the expressions: %v\n%s", err, failed.String())
	}
	var names [][]string
	for line := range strings.Lines(string(answer)) {
		names = append(names, strings.Fields(line))
	}
	if len(names) != len(expressions) {
		t.Fatalf("%d expressions were parsed of %d", len(names), len(expressions))
	}
	return names
}
