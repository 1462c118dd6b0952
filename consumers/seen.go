package consumers

import (
	"encoding/json"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

// The API reads a service's document for each command, to see whether the caller may give
// it. The command carries what was read, and the worker does not read it again.

// trustSeen is for how long after it was queued a command's word counts: the document may be
// changed, or deleted, while it waits.
const trustSeen = 30 * time.Second

// noteSeen keeps what an input carries of the service's document.
func (l *loader) noteSeen(input pipeline.Input) {
	l.seen, l.made, l.rewritten = nil, nil, false
	command := input.Work.Command
	l.rewrites = command != nil && asksToRewrite(*command)
	if command == nil || time.Since(input.Published) > trustSeen {
		return
	}
	l.seen = command.Seen
	if command.Verb == flow.VerbDeploy && len(command.Arguments) > 0 {
		l.made = l.madeDocument(*command)
	}
}

// madeDocument returns the document that a deploy carries; nil where that cannot be read.
func (l *loader) madeDocument(command flow.Command) *foundDocument {
	opened, err := command.OpenedArguments(l.worker.box.Open)
	if err != nil {
		return nil
	}
	var made flow.DeployArguments
	if json.Unmarshal(opened, &made) != nil {
		return nil
	}
	body, err := spec.ParseBody(made.Body)
	if err != nil {
		return nil
	}
	return &foundDocument{exists: true, owner: made.Owner, digest: body.Digest(), body: body}
}

// isAsSeen reports whether the document, as the API has just read it, is what is known here.
func (l *loader) isAsSeen() bool {
	return l.seen != nil && l.seen.Owner == l.record.State.Service.Owner && !l.predates(l.seen.Digest) &&
		(l.seen.Digest == l.record.Saved || l.isOurs(l.seen.Digest))
}
