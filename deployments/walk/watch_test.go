package walk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// watch is what a Prometheus on the network collects.
type watch struct {
	t      *testing.T
	folder string
}

// scrape keeps what each process of each front-end tells, where its unit has it
// told.
func (w watch) scrape(frontEnds []*machine) {
	w.t.Helper()
	for _, m := range frontEnds {
		for _, port := range []int{2481, 2482, 2483} {
			told, err := m.try(fmt.Sprintf("curl --silent --fail http://127.0.0.1:%d/metrics", port))
			if err != nil {
				w.t.Fatalf("%s tells nothing on %d: %v %s", m.name, port, err, told)
			}
			file := filepath.Join(w.folder, fmt.Sprintf("%s:%d@%d", m.name, port, time.Now().Unix()))
			must(w.t, os.WriteFile(file, []byte(told), 0o600))
		}
	}
}

// check has Prometheus's engine evaluate every query of the dashboard, each of
// which has to have data, and look for every metric of the alert rules.
func (w watch) check() {
	w.t.Helper()
	var wanted []string
	for line := range strings.Lines(w.promql(w.rules(), "names")) {
		for name := range strings.FieldsSeq(line) {
			wanted = append(wanted, "count("+name+")")
		}
	}
	wanted = append(wanted, w.panels()...)
	answers := strings.Fields(w.promql(wanted, "query", w.folder))
	if len(answers) != len(wanted) {
		w.t.Fatalf("%d of %d queries were answered", len(answers), len(wanted))
	}
	for i, answer := range answers {
		if answer == "0" {
			w.t.Errorf("three front-ends have no data for %s", wanted[i])
		}
	}
}

func (w watch) promql(expressions []string, arguments ...string) string {
	w.t.Helper()
	command := exec.CommandContext(w.t.Context(), "go", append([]string{"run", "-C", "../../tools/promql", "."}, arguments...)...)
	command.Stdin = strings.NewReader(strings.Join(expressions, "\n") + "\n")
	var failed bytes.Buffer
	command.Stderr = &failed
	answer, err := command.Output()
	if err != nil {
		w.t.Fatalf("promql %s: %v\n%s", strings.Join(arguments, " "), err, failed.String())
	}
	return string(answer)
}

// rules are the expressions of the alert rules that the package has installed.
func (w watch) rules() []string {
	w.t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Expression string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	text, err := os.ReadFile("../prometheus/flowjet.rules.yaml")
	must(w.t, err)
	must(w.t, yaml.Unmarshal(text, &file))
	var all []string
	for _, rule := range file.Groups[0].Rules {
		all = append(all, rule.Expression)
	}
	return all
}

func (w watch) panels() []string {
	w.t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expression string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	text, err := os.ReadFile("../grafana/flowjet.json")
	must(w.t, err)
	must(w.t, json.Unmarshal(text, &dashboard))
	var all []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expression)
		}
	}
	return all
}
