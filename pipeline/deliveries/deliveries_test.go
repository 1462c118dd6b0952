package deliveries

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
)

func delivery(number int) pipeline.Delivery {
	return pipeline.Delivery{ID: fmt.Sprint("42-", number), Service: 42, Receiver: "ops", Body: []byte(`{"n":1}`)}
}

func TestDeliveriesWaitInOrderAndOnce(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx, subject := limited(t), pipeline.HookSubject("ops", 42)
		if _, found, err := p.NextDelivery(ctx, subject); found || err != nil {
			t.Fatalf("something waits already: %v", err)
		}
		for _, number := range []int{1, 2, 1} {
			must(t, p.QueueDeliveries(ctx, Queued{subject, delivery(number)})[0])
		}
		must(t, p.QueueDeliveries(ctx, Queued{pipeline.HookSubject("other", 7), delivery(9)})[0])
		if waiting, err := p.PendingDeliveries(ctx); waiting != 3 || err != nil {
			t.Errorf("%d wait (%v)", waiting, err)
		}
		for _, want := range []string{"42-1", "42-2"} {
			next, found, err := p.NextDelivery(ctx, subject)
			must(t, err)
			if !found || next.ID != want || string(next.Body) != `{"n":1}` || next.Version != pipeline.Version || time.Since(next.Queued) > time.Minute {
				t.Fatalf("next is %+v, want %s", next, want)
			}
			must(t, p.DropDelivery(ctx, next.Sequence))
			must(t, p.DropDelivery(ctx, next.Sequence))
		}
		if _, found, err := p.NextDelivery(ctx, subject); found || err != nil {
			t.Errorf("something is left (%v)", err)
		}
	})
}

// How many wait is known for each receiver and service, so that one which is away is found among many.
func TestDeliveriesAreCountedBySubject(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		if waiting, err := p.PendingBySubject(ctx); len(waiting) > 0 || err != nil {
			t.Errorf("of none %v wait (%v)", waiting, err)
		}
		ops, other := pipeline.HookSubject("ops", 42), pipeline.HookSubject("other", 7)
		for _, number := range []int{1, 2, 3} {
			must(t, p.QueueDeliveries(ctx, Queued{ops, delivery(number)})[0])
		}
		must(t, p.QueueDeliveries(ctx, Queued{other, delivery(9)})[0])
		next, _, err := p.NextDelivery(ctx, ops)
		must(t, err)
		must(t, p.DropDelivery(ctx, next.Sequence))
		if waiting, err := p.PendingBySubject(ctx); len(waiting) != 2 || waiting[ops] != 2 || waiting[other] != 1 || err != nil {
			t.Errorf("%v wait (%v)", waiting, err)
		}
	})
}

// A receiver that is away for long takes only its own room.
func TestOneReceiverIsFullForItself(t *testing.T) {
	p, ctx := single(t), limited(t)
	config := p.Client.Stream(pipeline.StreamHook).Config()
	config.MaxMsgsPerSubject = 2
	_, err := p.JetStream().UpdateStream(ctx, config)
	must(t, err)
	subject := pipeline.HookSubject("ops", 42)
	must(t, p.QueueDeliveries(ctx, Queued{subject, delivery(1)})[0])
	must(t, p.QueueDeliveries(ctx, Queued{subject, delivery(2)})[0])
	if err := p.QueueDeliveries(ctx, Queued{subject, delivery(3)})[0]; !errors.Is(err, pipeline.ErrFull) {
		t.Errorf("a third one: %v", err)
	}
	other := pipeline.HookSubject("other", 42)
	results := p.QueueDeliveries(ctx, Queued{subject, delivery(3)}, Queued{other, delivery(3)}, Queued{subject, delivery(4)})
	if !errors.Is(results[0], pipeline.ErrFull) || results[1] != nil || !errors.Is(results[2], pipeline.ErrFull) {
		t.Errorf("together: %v", results)
	}
	if next, found, err := p.NextDelivery(ctx, other); !found || next.ID != "42-3" || err != nil {
		t.Errorf("for the other receiver %+v waits (%v)", next, err)
	}
}

// However many are queued at once, and queued again as after a crash, each waits once, in the order of its subject. What NATS never takes
// keeps none of the others out.
func TestManyDeliveriesAtOnce(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		const receivers, each = 7, 30
		subject := func(i int) string { return pipeline.HookSubject(fmt.Sprint("r", i%receivers), 42) }
		var all []Queued
		for i := range receivers * each {
			all = append(all, Queued{subject(i), delivery(i)})
		}
		large := delivery(1000)
		large.Body = []byte(`"` + strings.Repeat("x", int(p.Conn().MaxPayload())) + `"`)
		for _, end := range []int{3, each, receivers * each} {
			queued, bad := slices.Concat(all[:end], all[1:3]), -1
			if end == 3 {
				bad = 1
				queued[bad].Delivery = large
			}
			for i, err := range p.QueueDeliveries(ctx, queued...) {
				if errors.Is(err, pipeline.ErrUnpublishable) != (i == bad) || i != bad && err != nil {
					t.Fatalf("of %d, number %d: %v", end, i, err)
				}
			}
		}
		if waiting, err := p.PendingDeliveries(ctx); waiting != receivers*each || err != nil {
			t.Errorf("%d wait (%v)", waiting, err)
		}
		for i, one := range all {
			next, found, err := p.NextDelivery(ctx, subject(i))
			if must(t, err); !found || next.ID != one.ID {
				t.Fatalf("number %d: %+v waits, want %s", i, next, one.ID)
			}
			must(t, p.DropDelivery(ctx, next.Sequence))
		}
	})
}

func TestWhatWaitsIsFollowedAndWhatComes(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.QueueDeliveries(ctx, Queued{pipeline.HookSubject("ops", 42), delivery(1)})[0])
	_, err := p.JetStream().Publish(ctx, "flow.hook.of.another.form", nil)
	must(t, err)
	following, stop := context.WithCancel(ctx)
	waiting, ended := make(chan Queued, 10), make(chan error, 1)
	go func() { ended <- p.FollowDeliveries(following, func(queued Queued) { waiting <- queued }) }()
	for _, service := range []int{42, 7} {
		var found Queued
		select {
		case found = <-waiting:
		case err := <-ended:
			t.Fatalf("the deliveries end: %v", err)
		}
		if found.Service != service || found.Subject != pipeline.HookSubject("ops", service) {
			t.Errorf("read %+v, want service %d", found, service)
		}
		must(t, p.QueueDeliveries(ctx, Queued{pipeline.HookSubject("ops", 7), delivery(2)})[0])
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
}

// What cannot be read has no body; what a newer Flowjet wrote is left to it.
func TestADeliveryThatCannotBeRead(t *testing.T) {
	p, ctx := single(t), limited(t)
	for text, want := range map[string]error{"no JSON": nil, `{"v":99,"id":"42-1","body":{}}`: pipeline.ErrNewer} {
		subject := pipeline.HookSubject("ops", len(text))
		_, err := p.JetStream().Publish(ctx, subject, []byte(text))
		must(t, err)
		next, found, err := p.NextDelivery(ctx, subject)
		if !errors.Is(err, want) || !found || next.Body != nil || (next.Sequence == 0) != (want != nil) {
			t.Errorf("%s came as %+v, %v, %v", text, next, found, err)
		}
	}
}

func TestADeadDeliveryCanBeQueuedAgain(t *testing.T) {
	p, ctx := single(t), limited(t)
	subject := pipeline.HookSubject("ops", 42)
	must(t, p.DeadLetterDeliveries(ctx, []Dead{{Queued{subject, delivery(1)}, "it answered 500"}}))
	letters := deadletters.New(p.Pipeline)
	all, err := letters.DeadLetters(ctx, 10)
	must(t, err)
	if len(all) != 1 || all[0].Where != "webhook" || all[0].Service() != 42 {
		t.Fatalf("the dead letters are %+v", all)
	}
	must(t, letters.Retry(ctx, all[0]))
	if next, found, err := p.NextDelivery(ctx, subject); !found || next.ID != "42-1" || err != nil {
		t.Errorf("it came back as %+v, %v (%v)", next, found, err)
	}
}

func TestAttemptsAreKept(t *testing.T) {
	p, ctx := single(t), limited(t)
	subject, first := pipeline.HookSubject("ops", 42), time.Now().UTC().Round(time.Millisecond)
	if attempts, err := p.LoadAttempts(ctx, subject); attempts != (pipeline.Attempts{}) || err != nil {
		t.Errorf("attempts that nobody made: %+v, %v", attempts, err)
	}
	want := pipeline.Attempts{Sequence: 3, Count: 2, First: first, Next: first.Add(time.Minute), Error: "it answered 500"}
	must(t, p.SaveAttempts(ctx, subject, want))
	want.Version = pipeline.Version
	if got, err := p.LoadAttempts(ctx, subject); got != want || err != nil {
		t.Errorf("loaded %+v (%v), want %+v", got, err, want)
	}
	must(t, p.Client.Bucket(pipeline.BucketHooks).Put(ctx, "ops.7", []byte("no JSON")))
	failing, err := p.FailingDeliveries(ctx)
	if must(t, err); len(failing) != 1 || failing["ops.42"].Count != 2 {
		t.Errorf("failing are %+v", failing)
	}
	if attempts, err := p.LoadAttempts(ctx, pipeline.HookSubject("ops", 7)); attempts.Count != 0 || err != nil {
		t.Errorf("what cannot be read begins anew: %+v, %v", attempts, err)
	}
	must(t, p.ForgetAttempts(ctx, subject))
	if attempts, err := p.LoadAttempts(ctx, subject); attempts.Count != 0 || err != nil {
		t.Errorf("forgotten attempts: %+v, %v", attempts, err)
	}
}
