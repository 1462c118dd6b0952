package main

import (
	"os"
	"testing"
)

// asCommand makes the test binary behave as flowjet itself, so that tests can
// start, kill and restart real processes without building another binary.
const asCommand = "TEST_AS_FLOWJET"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "1" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}
