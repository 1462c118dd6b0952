package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// store is a Prometheus without anything to scrape.
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

// ask evaluates an expression at a time; a single number is one without labels.
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
