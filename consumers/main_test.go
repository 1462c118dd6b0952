package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }
