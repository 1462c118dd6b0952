package webhooks

import (
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/work"
)

// clients are those of JetStream that webhooks need.
type clients struct {
	*pipeline.Pipeline // cursors
	*history.History
	*deliveries.Deliveries
	*work.Records
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, history.New(p), deliveries.New(p), work.NewRecords(p)}
}
