package work

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	limited  = pipetest.Limited
	must     = pipetest.Must
	replicas = pipetest.Replicas
)

// clients are those that the tests use.
type clients struct {
	*pipeline.Pipeline
	*Queue
	*Records
	*Objects
	*Timers
}

func clientsOf(p *pipeline.Pipeline) clients {
	return clients{p, NewQueue(p), NewRecords(p), NewObjects(p), NewTimers(p)}
}

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }

func open(t testing.TB, url string, change ...func(*pipeline.Config)) clients {
	return clientsOf(pipetest.Open(t, url, change...))
}

func onOneAndThree(t *testing.T, test func(t *testing.T, p clients)) {
	pipetest.OnOneAndThree(t, func(t *testing.T, p *pipeline.Pipeline) { test(t, clientsOf(p)) })
}
