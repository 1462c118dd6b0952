package presence

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
}

func clientsOf(p *pipeline.Pipeline) clients { return clients{p} }

func open(t testing.TB, url string, change ...func(*pipeline.Config)) clients {
	return clientsOf(pipetest.Open(t, url, change...))
}
