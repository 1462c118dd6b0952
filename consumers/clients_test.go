package consumers_test

import (
	"context"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// clients are those of JetStream that the tests use.
type clients struct {
	*pipeline.Pipeline
	*work.Queue
	*work.Records
	*work.Objects
	*history.History
	*command.Commands
	*deadletters.Store
	*inspect.Inspector
}

func clientsOf(p *pipeline.Pipeline) clients {
	return clients{p, work.NewQueue(p), work.NewRecords(p), work.NewObjects(p), history.New(p), command.New(p), deadletters.New(p), inspect.New(p)}
}

// acquire takes a feed over from whoever had it.
func (c clients) acquire(ctx context.Context, feed, holder string) (*feeds.Lease, error) {
	all := feeds.New(c.Pipeline)
	_, last, err := all.LastLease(ctx, feed)
	if err != nil {
		return nil, err
	}
	return all.Acquire(ctx, feed, holder, last)
}
