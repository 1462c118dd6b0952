package operate

import (
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// clients are those of JetStream that an operator's commands need.
type clients struct {
	*pipeline.Pipeline // whose data it is
	*inspect.Inspector
	*work.Records
	*history.History
	*command.Commands
	*deadletters.Letters
	*deliveries.Deliveries
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, inspect.New(p), work.NewRecords(p), history.New(p), command.New(p), deadletters.New(p), deliveries.New(p)}
}
