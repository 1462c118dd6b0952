package consumers

import (
	"encoding/json"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

// The API reads a service's document for each command, to see whether the caller may give
// it. The command carries what was read, and the worker does not read it again.

// trustSeen is for how long after it was queued a command's word counts: the document may be
// changed, or deleted, while it waits.
const trustSeen = 30 * time.Second

// noteSeen keeps what an input carries of the service's document.
func (i *ingester) noteSeen(input pipeline.Input) {
	i.seen, i.made = nil, nil
	command := input.Work.Command
	if command == nil || time.Since(input.Published) > trustSeen {
		return
	}
	i.seen = command.Seen
	if command.Verb == flow.VerbDeploy && len(command.Arguments) > 0 {
		i.made = i.madeDocument(*command)
	}
}

// madeDocument returns the document that a deploy carries; nil where that cannot be read.
func (i *ingester) madeDocument(command flow.Command) *foundDocument {
	opened, err := command.OpenedArguments(i.worker.box.Open)
	if err != nil {
		return nil
	}
	var made flow.DeployArguments
	if json.Unmarshal(opened, &made) != nil {
		return nil
	}
	body, err := flow.ParseBody(made.Body)
	if err != nil {
		return nil
	}
	return &foundDocument{exists: true, owner: made.Owner, digest: body.Digest(), body: body}
}

// isAsSeen reports whether the document, as the API has just read it, is what is known here.
func (i *ingester) isAsSeen() bool {
	return i.seen != nil && i.seen.Owner == i.record.State.Service.Owner && !i.predates(i.seen.Digest) &&
		(i.seen.Digest == i.record.Saved || i.isOurs(i.seen.Digest))
}
