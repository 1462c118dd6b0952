package restapi

import (
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/changes"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// clients are those of JetStream that the API needs: its queue outside of tests.
type clients struct {
	*pipeline.Pipeline // the connection's state
	*command.Commands
	*work.Queue
	*work.Records
	*history.History
	*inspect.Inspector
	*changes.Changes
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, command.New(p), work.NewQueue(p), work.NewRecords(p), history.New(p), inspect.New(p), changes.New(p)}
}
