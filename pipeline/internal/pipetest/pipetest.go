// Package pipetest opens pipelines for tests, on NATS servers that end with them.
package pipetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

// Limited returns a context for a test's calls.
func Limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Open opens a pipeline that is closed with the test.
func Open(t testing.TB, url string, change ...func(*pipeline.Config)) *pipeline.Pipeline {
	t.Helper()
	config := pipeline.Config{URL: url, Name: t.Name()}
	for _, apply := range change {
		apply(&config)
	}
	p, err := pipeline.Open(Limited(t), config)
	Must(t, err)
	t.Cleanup(p.Close)
	return p
}

// Single returns a pipeline on a server of its own.
func Single(t testing.TB) *pipeline.Pipeline {
	t.Helper()
	return Open(t, natstest.Server(t))
}

// Replicas sets how many servers keep each stream.
func Replicas(count int) func(*pipeline.Config) {
	return func(c *pipeline.Config) { c.Replicas = count }
}

// OnOneAndThree runs a test on one server and on three with three replicas.
func OnOneAndThree(t *testing.T, test func(t *testing.T, p *pipeline.Pipeline)) {
	t.Run("one", func(t *testing.T) { test(t, Single(t)) })
	t.Run("three", func(t *testing.T) { test(t, Open(t, natstest.Cluster(t, 3).URL(), Replicas(3))) })
}

// Durable returns a pipeline on an embedded server as `flowjet up` runs it: every
// message is on the disk before it is acknowledged.
func Durable(b *testing.B) *pipeline.Pipeline {
	b.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: b.TempDir()})
	Must(b, err)
	b.Cleanup(func() { Must(b, server.Stop(Limited(b))) })
	return Open(b, server.URL(), func(c *pipeline.Config) { c.Options = append(c.Options, server.InProcess()) })
}

// Spread reports the median and the 99th percentile of the measurements.
func Spread(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}
