package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v3"
)

// testFile has the part of `promtool test rules`' format that is used.
type testFile struct {
	Rules    []string       `yaml:"rule_files"`
	Interval model.Duration `yaml:"evaluation_interval"`
	Tests    []ruleTest     `yaml:"tests"`
}

type ruleTest struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []struct {
		At       model.Duration  `yaml:"eval_time"`
		Name     string          `yaml:"alertname"`
		Expected []expectedAlert `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// test runs the unit tests of a file. Each rule has to have one in which it fires and one in which it does not.
func test(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file testFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	rules := map[string]rulefmt.Rule{}
	for _, name := range file.Rules {
		groups, wrong := rulefmt.ParseFile(filepath.Join(filepath.Dir(path), name), false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
		if len(wrong) > 0 {
			return errors.Join(wrong...)
		}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				rules[rule.Alert] = rule
			}
		}
	}
	fired, silent := map[string]bool{}, map[string]bool{}
	var failed []error
	for _, one := range file.Tests {
		failed = append(failed, one.run(ctx, rules, time.Duration(file.Interval), fired, silent))
	}
	for name := range rules {
		if !fired[name] || !silent[name] {
			failed = append(failed, fmt.Errorf("%s: no test in which it fires, or none in which it does not", name))
		}
	}
	return errors.Join(failed...)
}

func (t ruleTest) run(ctx context.Context, rules map[string]rulefmt.Rule, interval time.Duration, fired, silent map[string]bool) error {
	data, err := newStore()
	if err != nil {
		return err
	}
	defer data.close()
	for _, given := range t.Series {
		name, values, err := language.ParseSeriesDesc(given.Series + " " + given.Values)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", t.Name, given.Series, err)
		}
		var samples []sample
		for i, value := range values {
			if !value.Omitted {
				samples = append(samples, sample{name, start.Add(time.Duration(i) * time.Duration(t.Interval)), value.Value})
			}
		}
		if err := data.add(ctx, samples); err != nil {
			return fmt.Errorf("%s: %s: %w", t.Name, given.Series, err)
		}
	}
	var failed []error
	for _, asked := range t.Alerts {
		rule, known := rules[asked.Name]
		if !known {
			failed = append(failed, fmt.Errorf("%s: there is no rule %s", t.Name, asked.Name))
			continue
		}
		found, err := data.firing(ctx, rule, start.Add(time.Duration(asked.At)), interval)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", t.Name, asked.Name, err)
		}
		(map[bool]map[string]bool{true: fired, false: silent})[len(found) > 0][asked.Name] = true
		if got, want := inWords(found), inWords(asked.Expected); got != want {
			failed = append(failed, fmt.Errorf("%s: %s at %s is\n%swant\n%s", t.Name, asked.Name, asked.At, got, want))
		}
	}
	return errors.Join(failed...)
}

// start is when every test begins.
var start = time.Unix(0, 0).UTC()

// firing returns the alerts of a rule at a time: the series of its expression that have lasted for the rule's time.
func (s *store) firing(ctx context.Context, rule rulefmt.Rule, at time.Time, interval time.Duration) ([]expectedAlert, error) {
	since := map[string]time.Time{}
	var found promql.Vector
	for now := start; !now.After(at); now = now.Add(interval) {
		var err error
		if found, err = s.ask(ctx, rule.Expr, now); err != nil {
			return nil, err
		}
		active := map[string]time.Time{}
		for _, one := range found {
			key := one.Metric.String()
			active[key] = now
			if began, was := since[key]; was {
				active[key] = began
			}
		}
		since = active
	}
	var alerts []expectedAlert
	for _, one := range found {
		if at.Sub(since[one.Metric.String()]) < time.Duration(rule.For) {
			continue
		}
		alert, err := expand(ctx, rule, one, at)
		if err != nil {
			return nil, err
		}
		alerts = append(alerts, alert)
	}
	return alerts, nil
}

// expand fills in labels and annotations, as Prometheus does.
func expand(ctx context.Context, rule rulefmt.Rule, one promql.Sample, at time.Time) (expectedAlert, error) {
	alert := expectedAlert{Labels: labels.NewBuilder(one.Metric).Del(labels.MetricName).Labels().Map(), Annotations: map[string]string{}}
	data := template.AlertTemplateData(maps.Clone(alert.Labels), nil, "", one)
	const variables = "{{$labels := .Labels}}{{$value := .Value}}"
	for name, text := range rule.Annotations {
		expander := template.NewTemplateExpander(ctx, variables+text, rule.Alert, data, model.TimeFromUnixNano(at.UnixNano()), nil, nil, nil)
		filled, err := expander.Expand()
		if err != nil {
			return alert, fmt.Errorf("annotation %s: %w", name, err)
		}
		alert.Annotations[name] = filled
	}
	maps.Copy(alert.Labels, rule.Labels)
	return alert, nil
}

// inWords lists alerts, a line each, in order.
func inWords(alerts []expectedAlert) string {
	var lines []string
	for _, alert := range alerts {
		lines = append(lines, fmt.Sprintf("  %q %q\n", alert.Labels, alert.Annotations))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
