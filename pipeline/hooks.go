package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrFull is returned when there is no room for more that waits for the same receiver.
var ErrFull = errors.New("too much waits for the receiver already")

// codeStoreFailed is JetStream's refusal to store a message; its text says why.
const codeStoreFailed jetstream.ErrorCode = 10077

// Delivery is a message on StreamHook: what is to be posted to one receiver.
type Delivery struct {
	Version int `json:"v"`
	// ID is the transition's, "<service>-<number>": the same at every attempt.
	ID      string `json:"id"`
	Service int    `json:"service"`
	// Receiver is the name of one of the configuration, empty for one of the
	// service, of which URL and Secret (a name) then say what it is.
	Receiver string `json:"receiver,omitempty"`
	URL      string `json:"url,omitempty"`
	Secret   string `json:"secret,omitempty"`
	// Owner is the name of the service's owner, whose secrets may be used.
	Owner string `json:"owner,omitempty"`
	// Body is what is posted, byte by byte.
	Body json.RawMessage `json:"body"`

	// Sequence is the message's number in StreamHook, Queued when it came there.
	Sequence uint64    `json:"-"`
	Queued   time.Time `json:"-"`
}

// Attempts are what came of a delivery so far; BucketHooks holds them.
type Attempts struct {
	Version int `json:"v"`
	// Sequence is the delivery's.
	Sequence uint64 `json:"sequence"`
	Count    int    `json:"count"`
	// First is when the first attempt failed, Next when the next one is due.
	First time.Time `json:"first"`
	Next  time.Time `json:"next"`
	// Error is what the last one failed with.
	Error string `json:"error"`
}

// QueueDelivery stores a delivery on its subject. The same transition for the
// same receiver within ten minutes is stored once. ErrFull is returned when it was not
// stored because too many wait on the subject.
func (p *Pipeline) QueueDelivery(ctx context.Context, subject string, delivery Delivery) error {
	delivery.Version = Version
	message := nats.NewMsg(subject)
	message.Data = Encode(delivery)
	message.Header.Set(jetstream.MsgIDHeader, subject+" "+delivery.ID)
	_, err := p.publish(ctx, message)
	if fullSubject(err) {
		err = ErrFull
	}
	if err != nil {
		return fmt.Errorf("queue %s for a webhook of service %d: %w", delivery.ID, delivery.Service, err)
	}
	return nil
}

// fullSubject reports whether the stream refused a message because its subject, or the
// stream, holds as many as it may.
func fullSubject(err error) bool {
	var refused jetstream.JetStreamError
	if !errors.As(err, &refused) || refused.APIError() == nil {
		return false
	}
	return codeOf(err) == codeStoreFailed && strings.Contains(refused.APIError().Description, "maximum")
}

// DeliveryReader tells of subjects on which something waits to be delivered.
type DeliveryReader struct{ *reader }

// ReadDeliveries tells of everything that waits, and then of what comes.
func (p *Pipeline) ReadDeliveries(ctx context.Context) (*DeliveryReader, error) {
	r := &DeliveryReader{p.newReader(StreamHook, SubjectsHook, 0)}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Next waits for the next delivery and returns its subject and service. It
// returns ctx's error, or ErrClosed after Stop.
func (r *DeliveryReader) Next(ctx context.Context) (subject string, service int, err error) {
	for {
		message, _, err := r.next(ctx)
		if err != nil {
			return "", 0, err
		}
		_, service, ok := readHookSubject(message.Subject())
		if ok {
			return message.Subject(), service, nil
		}
	}
}

// readHookSubject is the reverse of HookSubject.
func readHookSubject(subject string) (receiver string, service int, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 {
		return "", 0, false
	}
	_, err := fmt.Sscanf(tokens[3], "%d", &service)
	return tokens[2], service, err == nil
}

// NextDelivery is the oldest delivery that waits on a subject; false for none. One
// that cannot be read has no body.
func (p *Pipeline) NextDelivery(ctx context.Context, subject string) (Delivery, bool, error) {
	var message *jetstream.RawStreamMsg
	err := persist(ctx, func(ctx context.Context) (err error) {
		message, err = p.streams[StreamHook].GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Delivery{}, false, nil
	}
	if err != nil {
		return Delivery{}, false, fmt.Errorf("find what waits on %s: %w", subject, err)
	}
	var delivery Delivery
	if json.Unmarshal(message.Data, &delivery) != nil || delivery.Version > Version {
		delivery = Delivery{}
	}
	delivery.Sequence, delivery.Queued = message.Sequence, message.Time
	return delivery, true, nil
}

// DropDelivery deletes a delivery that is done. One that is gone is no error.
func (p *Pipeline) DropDelivery(ctx context.Context, sequence uint64) error {
	err := persist(ctx, func(ctx context.Context) error { return p.streams[StreamHook].DeleteMsg(ctx, sequence) })
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return fmt.Errorf("drop the delivery %d: %w", sequence, err)
	}
	return nil
}

// BuryDelivery makes a dead letter of a delivery, from which it can be queued again.
func (p *Pipeline) BuryDelivery(ctx context.Context, subject, reason string, delivery Delivery) error {
	return p.Bury(ctx, Letter{Where: "webhook", Reason: reason, Origin: subject, Data: Encode(delivery)})
}

// PendingDeliveries is how many deliveries wait.
func (p *Pipeline) PendingDeliveries(ctx context.Context) (uint64, error) {
	var waiting uint64
	err := persist(ctx, func(ctx context.Context) error {
		info, err := p.streams[StreamHook].Info(ctx)
		if err == nil {
			waiting = info.State.Msgs
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count what waits for webhooks: %w", err)
	}
	return waiting, nil
}

// LoadAttempts are those of what waits on a subject; the zero value for none.
func (p *Pipeline) LoadAttempts(ctx context.Context, subject string) (Attempts, error) {
	text, err := getText(ctx, p.hooks, attemptsKey(subject))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Attempts{}, nil
	}
	if err != nil {
		return Attempts{}, fmt.Errorf("load the attempts to deliver %s: %w", subject, err)
	}
	var attempts Attempts
	if err := json.Unmarshal([]byte(text), &attempts); err != nil {
		p.log.Warn("the attempts to deliver cannot be read and begin anew", "subject", subject, "error", err)
		attempts = Attempts{}
	}
	return attempts, nil
}

// SaveAttempts keeps what came of a delivery.
func (p *Pipeline) SaveAttempts(ctx context.Context, subject string, attempts Attempts) error {
	attempts.Version = Version
	if err := putText(ctx, p.hooks, attemptsKey(subject), string(Encode(attempts))); err != nil {
		return fmt.Errorf("save the attempts to deliver %s: %w", subject, err)
	}
	return nil
}

// ForgetAttempts removes what SaveAttempts kept.
func (p *Pipeline) ForgetAttempts(ctx context.Context, subject string) error {
	err := persist(ctx, func(ctx context.Context) error { return p.hooks.Purge(ctx, attemptsKey(subject)) })
	if err != nil {
		return fmt.Errorf("forget the attempts to deliver %s: %w", subject, err)
	}
	return nil
}

func attemptsKey(subject string) string { return strings.TrimPrefix(subject, "flow.hook.") }

// BeginCursor is LoadCursor for a reader that begins at the given place when it
// is started for the first time ever.
func (p *Pipeline) BeginCursor(ctx context.Context, name string, first uint64) (uint64, error) {
	err := persist(ctx, func(ctx context.Context) error {
		_, err := p.checkpoints.Create(ctx, name, fmt.Append(nil, first))
		return err
	})
	if err != nil && !isConflict(err) {
		return 0, fmt.Errorf("begin the cursor %s: %w", name, err)
	}
	return p.LoadCursor(ctx, name)
}

// OwnerOf is the name of a service's owner as its record has it, empty if it is
// not known.
func (p *Pipeline) OwnerOf(ctx context.Context, service int) (string, error) {
	record, _, err := p.LoadRecord(ctx, service)
	return record.State.Service.Owner.UName, err
}
