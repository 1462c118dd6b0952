package terminal

import "errors"

// Exit is the status with which a command ends that has failed: scripts tell by it what
// to do next.
type Exit int

// The statuses. 0 is success.
const (
	// ExitFailed is for everything that has no status of its own.
	ExitFailed Exit = iota + 1
	// ExitUsage is for a wrong command line, configuration or file.
	ExitUsage
	// ExitNotFound is for a service, template, command or dead letter that is not there.
	ExitNotFound
	// ExitUnreachable is for NATS, oned or an API that does not answer.
	ExitUnreachable
	// ExitTimeout is for something that has not come within the time given.
	ExitTimeout
	// ExitTrouble is for trouble that was looked for and found.
	ExitTrouble
)

type exitError struct {
	error
	status Exit
}

func (e exitError) Unwrap() error { return e.error }

// Because is err with the status.
func (e Exit) Because(err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, e}
}

// ExitOf returns the status that an error was given; false for an error without one.
func ExitOf(err error) (Exit, bool) {
	var known exitError
	if errors.As(err, &known) {
		return known.status, true
	}
	return ExitFailed, false
}
