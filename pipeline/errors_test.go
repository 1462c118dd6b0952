package pipeline

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Of front-ends that are switched on together one comes up last, and the
// streams wait for it; for a larger disk they would wait in vain (both
// descriptions are nats-server 2.15's).
func TestMissingServersAreWaitedForAndMissingRoomIsNot(t *testing.T) {
	for description, passes := range map[string]bool{
		"no suitable peers for placement, peer offline":         true,
		"no suitable peers for placement, insufficient storage": false,
	} {
		refused := &jetstream.APIError{Code: 400, ErrorCode: codeNoPeers, Description: description}
		if err := fmt.Errorf("stream ONE: %w", refused); transient(err) != passes {
			t.Errorf("%q is waited for: %v", description, !passes)
		}
	}
}
