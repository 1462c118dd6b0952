package routing

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
)

// TestRunAgainKeepsTheClients: what an earlier Run has started may use them until it notices its end.
func TestRunAgainKeepsTheClients(t *testing.T) {
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.NewNode(t).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	router := &Router{Services: &Services{Logger: slog.New(slog.DiscardHandler)}, Pipeline: pipe}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if router.Run(ended, time.Time{}, false) == nil {
		t.Fatal("it runs although its context has ended")
	}
	before := router.pipe
	if router.Run(ended, time.Time{}, false) == nil || router.pipe != before {
		t.Error("the clients were replaced")
	}
}
