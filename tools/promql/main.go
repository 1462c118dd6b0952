// Command promql checks alert rules and dashboards against data, with Prometheus's own parser and engine, and without its server
// (promtool would bring every cloud's library along).
//
//	promql names           expressions on standard input, one a line: prints the metrics that each asks for
//	promql query FOLDER    the same expressions, evaluated over samples of processes: prints how many series each gives
//	promql test FILE       unit tests of rules, as `promtool test rules` reads them: fails if an alert is not as expected
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "names":
		return eachExpression(func(expression string) (string, error) {
			names, err := metrics(expression)
			return strings.Join(names, " "), err
		})
	case len(arguments) == 2 && arguments[0] == "query":
		return query(ctx, arguments[1])
	case len(arguments) == 2 && arguments[0] == "test":
		return test(ctx, arguments[1])
	}
	return errors.New("say names, query FOLDER or test FILE")
}

// eachExpression prints an answer for each line of standard input.
func eachExpression(answer func(expression string) (string, error)) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, err := answer(lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Println(text)
	}
	return lines.Err()
}

var language = parser.NewParser(parser.Options{})

// metrics returns the names in an expression, each once.
func metrics(expression string) ([]string, error) {
	parsed, err := language.ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	var names []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is && !slices.Contains(names, selector.Name) {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names, nil
}

// query reads the samples of processes, from files named INSTANCE@SECONDS, and prints for each expression how many series
// it gives just after the last sample.
func query(ctx context.Context, folder string) error {
	data, err := newStore()
	if err != nil {
		return err
	}
	defer data.close()
	files, err := filepath.Glob(filepath.Join(folder, "*@*"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there is nothing in %s: %w", folder, err)
	}
	var last time.Time
	for _, file := range files {
		samples, err := readSamples(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := data.add(ctx, samples); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if at := samples[0].at; at.After(last) {
			last = at
		}
	}
	return eachExpression(func(expression string) (string, error) {
		found, err := data.ask(ctx, expression, last.Add(time.Second))
		return strconv.Itoa(len(found)), err
	})
}

// readSamples reads the samples that one process exposed at a time.
func readSamples(file string) ([]sample, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	instance, seconds, _ := strings.Cut(filepath.Base(file), "@")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	parser, err := textparse.New(text, "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	var samples []sample
	for {
		entry, err := parser.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := parser.Series()
		var found labels.Labels
		parser.Labels(&found)
		named := labels.NewBuilder(found).Set("instance", instance).Labels()
		samples = append(samples, sample{named, time.Unix(since, 0), value})
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("it tells nothing")
	}
	return samples, nil
}

// store is a Prometheus without scraping.
type store struct {
	folder string
	series *tsdb.DB
	engine *promql.Engine
}

func newStore() (*store, error) {
	folder, err := os.MkdirTemp("", "promql")
	if err != nil {
		return nil, err
	}
	options := tsdb.DefaultOptions()
	options.RetentionDuration = 0
	series, err := tsdb.Open(folder, slog.New(slog.DiscardHandler), nil, options, nil)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language})
	return &store{folder, series, engine}, nil
}

func (s *store) close() { _, _ = s.series.Close(), os.RemoveAll(s.folder) }

// sample is a value at a time.
type sample struct {
	labels labels.Labels
	at     time.Time
	value  float64
}

func (s *store) add(ctx context.Context, samples []sample) error {
	appender := s.series.Appender(ctx)
	for _, one := range samples {
		if _, err := appender.Append(0, one.labels, one.at.UnixMilli(), one.value); err != nil {
			return errors.Join(err, appender.Rollback())
		}
	}
	return appender.Commit()
}

// ask evaluates an expression at a time; a single number becomes a series without labels.
func (s *store) ask(ctx context.Context, expression string, at time.Time) (promql.Vector, error) {
	asked, err := s.engine.NewInstantQuery(ctx, s.series, nil, expression, at)
	if err != nil {
		return nil, err
	}
	defer asked.Close()
	result := asked.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	if number, is := result.Value.(promql.Scalar); is {
		return promql.Vector{{T: number.T, F: number.V}}, nil
	}
	found, err := result.Vector()
	return append(promql.Vector(nil), found...), err
}
