package inspect

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
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
	*Inspector
	*work.Queue
	*work.Records
	*deadletters.Store
}

func clientsOf(p *pipeline.Pipeline) clients {
	return clients{p, New(p), work.NewQueue(p), work.NewRecords(p), deadletters.New(p)}
}

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }

func open(t testing.TB, url string, change ...func(*pipeline.Config)) clients {
	return clientsOf(pipetest.Open(t, url, change...))
}
