package consumers

import (
	"encoding/json"
	"errors"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/pipeline"
)

// What users may have put secrets into is sealed where it is stored: in records and in
// commands. Workers and APIs open it with the server user's password.

// sealedRecord is the record as it is stored.
func (s *saver) sealedRecord() pipeline.Record {
	record := s.record
	record.State.Service.Body = record.State.Service.Body.Sealed(s.worker.box.Seal)
	return record
}

// openRecord opens a record that was read. One that was sealed with another password loses
// its body: the document is taken instead.
func (s *saver) openRecord() {
	body, err := s.record.State.Service.Body.Opened(s.worker.box.Open)
	if err != nil {
		s.worker.config.Logger.Warn("the service's record was sealed with another password of the server user: the document is taken instead",
			"service", s.service, "error", err)
		body = flow.Body{StartTime: s.record.State.Service.Body.StartTime}
		s.record.Saved, s.record.Digests = "", nil
	}
	s.record.State.Service.Body = body
}

// openArguments opens a command's arguments; the refusal says why that cannot be.
func (l *serviceLoop) openArguments(command flow.Command) (arguments json.RawMessage, refusal *flow.Refusal) {
	arguments, err := command.OpenedArguments(l.worker.box.Open)
	switch {
	case errors.Is(err, seal.ErrKey):
		return nil, &flow.Refusal{Kind: flow.RefusedState, Message: "the server user's password was changed while the command waited: send it again"}
	case err != nil:
		return command.Arguments, nil //nolint:nilerr // no sealed text: what is wrong with it is found when it is read
	}
	return arguments, nil
}
