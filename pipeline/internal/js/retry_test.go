package js

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func refused(code jetstream.ErrorCode, description string) error {
	return fmt.Errorf("stream S: %w", &serverError{&jetstream.APIError{Code: 400, ErrorCode: code, Description: description}})
}

// codeBatchDuplicate is JetStream's refusal of a batch with a message that is stored already.
const codeBatchDuplicate jetstream.ErrorCode = 10201

// Of front-ends that are switched on together one comes up last, and the
// streams wait for it; for a larger disk they would wait in vain (both
// descriptions are nats-server 2.15's).
func TestErrorsAreSorted(t *testing.T) {
	for _, test := range []struct {
		err                         error
		transient, conflict, noRoom bool
		mend                        string
	}{
		{refused(codeNoPeers, "no suitable peers for placement, peer offline"), true, false, false, "fewer servers"},
		{refused(codeNoPeers, "no suitable peers for placement, insufficient storage"), false, false, true, "more disk space"},
		{refused(codeNoStorage, "insufficient storage"), false, false, true, "more disk space"},
		{refused(codeNoResources, "insufficient resources"), false, false, true, "more disk space"},
		{refused(codeWrongSequence, "wrong last sequence: 3"), false, true, false, ""},
		{refused(codeSequenceInFlight, "wrong last sequence"), true, true, false, ""},
		{jetstream.ErrKeyExists, false, true, false, ""},
		{refused(codeNotLeader, "not leader"), true, false, false, ""},
		{refused(codeConsumerClosed, "consumer closed"), true, false, false, ""}, // it was deleted while it was created
		{refused(codeBatchDuplicate, "batch contains a duplicate"), false, false, false, ""},
		{fmt.Errorf("a call: %w", nats.ErrTimeout), true, false, false, ""},
		{nats.ErrDisconnected, true, false, false, ""},
		{context.DeadlineExceeded, true, false, false, ""},
		{context.Canceled, false, false, false, ""},
		{nats.ErrMaxPayload, false, false, false, ""},
		{fmt.Errorf("use it: %w", jetstream.ErrJetStreamNotEnabled), false, false, false, "enable JetStream"},
	} {
		if Transient(test.err) != test.transient || Conflict(test.err) != test.conflict || NoRoom(test.err) != test.noRoom {
			t.Errorf("%v: transient %v, conflict %v, no room %v", test.err, Transient(test.err), Conflict(test.err), NoRoom(test.err))
		}
		explained := Explain(test.err)
		if !errors.Is(explained, test.err) || (explained.Error() == test.err.Error()) != (test.mend == "") {
			t.Errorf("explained as %v", explained)
		}
	}
}

// TestRetryHasPatience: what is transient is tried again for 15 s, with growing pauses.
func TestRetryHasPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, tries := time.Now(), 0
		err := Retry(t.Context(), func(context.Context) error { tries++; return nats.ErrNoResponders })
		if took := time.Since(begin); !errors.Is(err, nats.ErrNoResponders) || took != patience || tries < 30 || tries > 60 {
			t.Errorf("%d tries in %v ended with %v", tries, took, err)
		}
		tries = 0
		must(t, Retry(t.Context(), func(context.Context) error {
			if tries++; tries < 4 {
				return nats.ErrTimeout
			}
			return nil
		}))
		final := errors.New("final")
		if err := Retry(t.Context(), func(context.Context) error { return final }); !errors.Is(err, final) {
			t.Errorf("ended with %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Retry(gone, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		// A request that hangs is given up, the first sooner.
		begin, tries = time.Now(), 0
		_ = Retry(t.Context(), func(ctx context.Context) error {
			if tries++; tries == 3 {
				return final
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if took := time.Since(begin); took < firstAttempt+Attempt || took > firstAttempt+Attempt+time.Second {
			t.Errorf("two hanging requests took %v", took)
		}
	})
}
