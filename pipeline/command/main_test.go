package command

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
	"github.com/flowjet/flowjet/pipeline/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	limited = pipetest.Limited
	must    = pipetest.Must
)

// clients are those that the tests use.
type clients struct {
	*pipeline.Pipeline
	*Commands
	*work.Queue
}

func clientsOf(p *pipeline.Pipeline) clients { return clients{p, New(p), work.NewQueue(p)} }

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }

func open(t testing.TB, url string, change ...func(*pipeline.Config)) clients {
	return clientsOf(pipetest.Open(t, url, change...))
}

func onOneAndThree(t *testing.T, test func(t *testing.T, p clients)) {
	pipetest.OnOneAndThree(t, func(t *testing.T, p *pipeline.Pipeline) { test(t, clientsOf(p)) })
}

func readPartition(t testing.TB, p clients, partition int, after uint64) *work.PartitionReader {
	t.Helper()
	reader, err := p.ReadPartition(limited(t), partition, after)
	must(t, err)
	t.Cleanup(reader.Stop)
	return reader
}
