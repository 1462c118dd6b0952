package changes

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	limited = pipetest.Limited
	must    = pipetest.Must
)
