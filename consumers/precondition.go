package consumers

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
)

// precondition holds a command's If-Match against the service as it is when
// the command's turn has come. What was decided and is not in the document yet is
// written first: the client that read the document of before has not seen it. A
// service has one writer at a time, so nothing comes between this look and the
// decision but what is done to the document past Flowjet.
func (l *serviceLoop) precondition(ctx context.Context, command flow.Command) (*flow.Refusal, error) {
	if len(command.IfMatch) == 0 {
		return nil, nil
	}
	if err := l.saver.saveDocument(ctx); err != nil {
		return nil, err
	}
	document, err := l.actor.server().Document(ctx, l.service)
	if err == nil && !document.Matches(command.IfMatch) {
		document, err = l.actor.server().Confirmed().Document(ctx, l.service)
	}
	if err != nil {
		return nil, fmt.Errorf("hold service %d against what was seen of it: %w", l.service, err)
	}
	if document.Matches(command.IfMatch) {
		return nil, nil
	}
	return &flow.Refusal{Kind: flow.RefusedChanged, Message: fmt.Sprintf(
		"service %d has changed since it was read (its ETag is %s now): read it again and decide again", l.service, document.ETag())}, nil
}
