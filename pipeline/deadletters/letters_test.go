package deadletters

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func TestADeadLettersReasonIsOneLine(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "bridge", Reason: "first\r\nNats-Rollup: all\nthird", Data: make([]byte, maxData+1)}))
	message, err := p.Client.Stream(pipeline.StreamDead).Last(ctx, pipeline.DeadSubject("bridge"))
	must(t, err)
	if reason := message.Header.Get(pipeline.HeaderReason); reason != "first Nats-Rollup: all third" {
		t.Errorf("the reason is %q", reason)
	}
	if len(message.Data) != maxData {
		t.Errorf("%d bytes are kept", len(message.Data))
	}
}

// A dead letter is stored once, also if an answer of NATS is lost or late.
func TestDeadLettersOverAConnectionThatIsCut(t *testing.T) {
	server := natstest.Server(t)
	c := pipetest.NewCutter(t, server)
	p, direct, ctx := clientsOf(pipetest.Open(t, c.URL())), clientsOf(pipetest.Open(t, server)), limited(t)
	want := 0
	for _, count := range []int64{1, 3, 40} {
		for range 4 {
			want += int(count)
			c.CutSomewhere(200 * count)
			must(t, p.DeadLetterAll(ctx, make([]pipeline.DeadLetter, count)))
		}
	}
	c.Mend()
	if found, err := direct.DeadLetters(ctx, 10*want); err != nil || len(found) != want {
		t.Errorf("%d dead letters are stored, want %d (%v)", len(found), want, err)
	}
}

// Many dead letters are stored at once, in their order, also by a stream that allows no batches.
func TestManyDeadLettersAtOnce(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		store := func(from, to int) {
			t.Helper()
			var all []pipeline.DeadLetter
			for number := from; number < to; number++ {
				all = append(all, pipeline.DeadLetter{Where: "webhook", Reason: fmt.Sprint("reason ", number), Origin: "flow.hook.a.1", Data: []byte("{}")})
			}
			must(t, p.DeadLetterAll(ctx, all))
		}
		must(t, p.DeadLetterAll(ctx, nil))
		store(0, 100)
		stream, err := p.JetStream().Stream(ctx, pipeline.StreamDead)
		must(t, err)
		info, err := stream.Info(ctx)
		must(t, err)
		without := info.Config
		without.AllowAtomicPublish = false
		_, err = p.JetStream().UpdateStream(ctx, without)
		must(t, err)
		store(100, 150)
		found, err := p.DeadLetters(ctx, 1000)
		must(t, err)
		if len(found) != 150 {
			t.Fatalf("%d dead letters are stored, want 150", len(found))
		}
		for number, one := range found {
			if one.Reason != fmt.Sprint("reason ", number) || one.Origin != "flow.hook.a.1" {
				t.Errorf("number %d is %+v", number, one)
			}
		}
	})
}

func TestDeadLettersAreListedReadAndDropped(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		for number := range 7 {
			must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "worker", Reason: fmt.Sprint("reason ", number), Data: []byte(`{"service":42}`)}))
		}
		all, err := p.DeadLetters(ctx, 3)
		must(t, err)
		if len(all) != 3 || all[0].Reason != "reason 4" || all[2].Reason != "reason 6" || all[2].Service() != 42 {
			t.Errorf("the last three are %+v", all)
		}
		one, err := p.DeadLetterAt(ctx, 2)
		if must(t, err); one.Reason != "reason 1" || one.Where != "worker" || one.Sequence != 2 {
			t.Errorf("number 2 is %+v", one)
		}
		if err := p.Retry(ctx, one); !errors.Is(err, ErrNoOrigin) {
			t.Errorf("one without an origin was sent again: %v", err)
		}
		must(t, p.Drop(ctx, pipeline.DeadLetter{Sequence: 2}))
		must(t, p.Drop(ctx, pipeline.DeadLetter{Sequence: 2}))
		poll.Until(t, "the one that was dropped to be gone", func() bool { // a replica may be a moment behind
			_, err := p.DeadLetterAt(ctx, 2)
			return errors.Is(err, pipeline.ErrNotFound)
		})
	})
}

// A message is sent again as it was, once, on the subject that it was published on.
func TestADeadLetterIsSentAgain(t *testing.T) {
	p, ctx := single(t), limited(t)
	dead := js.Message{
		Subject: pipeline.StoredWorkSubject(42), Sequence: 7, Data: []byte("{"),
		Header: nats.Header{pipeline.HeaderFeed: {"fe1"}},
	}
	must(t, p.Unreadable(ctx, "work", dead, errors.New("no JSON")))
	one, err := p.DeadLetterAt(ctx, 1)
	must(t, err)
	if one.Origin != pipeline.WorkSubject(42) || one.Service() != 42 || !strings.Contains(one.Reason, "message 7") {
		t.Fatalf("the dead letter is %+v", one)
	}
	one.Header.Set(pipeline.HeaderReplyTo, "_INBOX.gone")
	one.Header.Set(pipeline.HeaderFeed, "fe1")
	must(t, p.Retry(ctx, one))
	again, err := p.Client.Stream(pipeline.StreamWork).Last(ctx, pipeline.StoredWorkSubject(42))
	must(t, err)
	if string(again.Data) != "{" || again.Header.Get(pipeline.HeaderFeed) != "fe1" || again.Header.Get(pipeline.HeaderReason)+again.Header.Get(pipeline.HeaderReplyTo) != "" {
		t.Errorf("it was sent as %q with %v", again.Data, again.Header)
	}
	if left, err := p.DeadLetters(ctx, 10); len(left) != 0 || err != nil {
		t.Errorf("%d are left (%v)", len(left), err)
	}
	must(t, p.Retry(ctx, one)) // as after a crash in between
	if info, err := p.Client.Stream(pipeline.StreamWork).Info(ctx); err != nil || info.State.Msgs != 1 {
		t.Errorf("it was stored twice: %+v (%v)", info, err)
	}
}

// The last ones are found without reading the whole stream, also where numbers are missing.
func TestTheLastDeadLettersBehindMissingNumbers(t *testing.T) {
	p, ctx := single(t), limited(t)
	for number := range 20 {
		must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "worker", Reason: fmt.Sprint("reason ", number+1), Data: []byte(`{"service":42}`)}))
	}
	for number := uint64(5); number <= 19; number++ {
		must(t, p.Drop(ctx, pipeline.DeadLetter{Sequence: number}))
	}
	all, err := p.DeadLetters(ctx, 3)
	must(t, err)
	if len(all) != 3 || all[0].Reason != "reason 3" || all[1].Reason != "reason 4" || all[2].Reason != "reason 20" {
		t.Errorf("the last three are %+v", all)
	}
}

// One user's failing webhooks hide no other dead letter of a service.
func TestAServicesDeadLettersAreFoundAmongMany(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "webhook", Reason: "a delivery", Data: []byte(`{"service":42}`)}))
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "worker", Reason: "an input", Data: []byte(`{"service":42}`)}))
	for range 5 {
		must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "webhook", Data: []byte(`{"service":7}`)}))
	}
	for most, want := range map[int][]string{5: {"an input"}, 6: {"a delivery", "an input"}} {
		found, err := p.DeadLettersOfService(ctx, 42, most)
		must(t, err)
		var reasons []string
		for _, dead := range found {
			reasons = append(reasons, dead.Reason)
		}
		if !slices.Equal(reasons, want) {
			t.Errorf("among %d: %q, want %q", most, reasons, want)
		}
	}
}

func TestWhatADeadLetterIsAbout(t *testing.T) {
	for want, dead := range map[int]pipeline.DeadLetter{
		42: {Data: []byte(`{"service":42}`), Origin: "flow.work.7"}, 7: {Data: []byte(`{`), Origin: "flow.work.7"},
		-1: {Data: []byte(`[]`), Origin: "flow.work.x"},
	} {
		if got := dead.Service(); got != want {
			t.Errorf("%+v is about %d, want %d", dead, got, want)
		}
	}
	if got := (pipeline.DeadLetter{Data: []byte("<xml>"), Origin: "one.0.vm.1.DONE.LCM_INIT"}).Service(); got != -1 {
		t.Errorf("an event is about service %d", got)
	}
}
