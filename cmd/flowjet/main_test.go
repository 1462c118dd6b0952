package main

import (
	"os"
	"testing"
)

// asCommand makes the test binary behave as flowjet itself, so that tests can
// start, kill and restart real processes without building another binary.
const asCommand = "FLOWJET_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "1" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}
