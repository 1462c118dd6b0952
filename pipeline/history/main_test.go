package history

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
	*History
}

func clientsOf(p *pipeline.Pipeline) clients { return clients{p, New(p)} }

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }
