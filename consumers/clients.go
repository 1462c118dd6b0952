package consumers

import (
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/work"
)

// clients are those of JetStream that a worker uses.
type clients struct {
	*pipeline.Pipeline // cursors
	*work.Queue
	*work.Records
	*work.Objects
	*work.Timers
	*history.History
	*command.Commands
	*deadletters.Letters
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{
		p, work.NewQueue(p), work.NewRecords(p), work.NewObjects(p), work.NewTimers(p),
		history.New(p), command.New(p), deadletters.New(p),
	}
}
