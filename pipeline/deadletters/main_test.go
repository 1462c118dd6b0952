package deadletters

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	limited = pipetest.Limited
	must    = pipetest.Must
)

// clients are those that the tests use.
type clients struct {
	*pipeline.Pipeline
	*Store
}

func clientsOf(p *pipeline.Pipeline) clients { return clients{p, New(p)} }

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }

func onOneAndThree(t *testing.T, test func(t *testing.T, p clients)) {
	pipetest.OnOneAndThree(t, func(t *testing.T, p *pipeline.Pipeline) { test(t, clientsOf(p)) })
}
