package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
)

// What tells that the data and oned belong together outlives every process, and what cannot be read of it counts as not there.
func TestMarksOutliveAProcess(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	first := open(t, url)
	if mark, stored, err := OnedNote.Load(ctx, first); !stored.IsZero() || mark != (OnedMark{}) || err != nil {
		t.Errorf("new data has the mark %+v, %v (%v)", mark, stored, err)
	}
	if found, has, err := first.LastMismatch(ctx); has || found != (Mismatch{}) || err != nil {
		t.Errorf("new data has the mismatch %+v, %v (%v)", found, has, err)
	}
	want := OnedMark{Version: Version, VM: 21, Made: "1900000000", Restored: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	must(t, OnedNote.Save(ctx, first, want))
	if mark, _, err := EventNote.Load(ctx, first); mark != (EventMark{}) || err != nil {
		t.Errorf("new data has the mark %+v of an event (%v)", mark, err)
	}
	wantEvent := EventMark{Version: Version, Sequence: 7, Stored: want.Restored.Add(time.Nanosecond)}
	must(t, EventNote.Save(ctx, first, wantEvent))
	must(t, first.NoteMismatch(ctx, "VM 7 is another"))
	must(t, first.NoteMismatch(ctx, "VM 21 is another"))
	first.Close()

	second := open(t, url)
	if mark, stored, err := OnedNote.Load(ctx, second); stored.IsZero() || mark != want || err != nil {
		t.Errorf("the mark is %+v, %v (%v), want %+v", mark, stored, err, want)
	}
	if mark, _, err := EventNote.Load(ctx, second); mark != wantEvent || err != nil {
		t.Errorf("the mark of the last event is %+v (%v), want %+v", mark, err, wantEvent)
	}
	if found, has, err := second.LastMismatch(ctx); !has || found.Reason != "VM 21 is another" || time.Since(found.Found) > time.Minute || err != nil {
		t.Errorf("the last mismatch is %+v, %v (%v)", found, has, err)
	}
	for _, key := range []string{string(OnedNote), string(EventNote), string(mismatchNote)} {
		must(t, second.Bucket(BucketCheckpoint).Put(ctx, key, []byte("no JSON")))
	}
	_, marked, markErr := OnedNote.Load(ctx, second)
	_, hasMismatch, mismatchErr := second.LastMismatch(ctx)
	event, _, eventErr := EventNote.Load(ctx, second)
	if event != (EventMark{}) || eventErr != nil {
		t.Errorf("a mark that cannot be read is %+v (%v)", event, eventErr)
	}
	if !marked.IsZero() || hasMismatch || markErr != nil || mismatchErr != nil {
		t.Errorf("what cannot be read counts: %v, %v (%v, %v)", marked, hasMismatch, markErr, mismatchErr)
	}
}

func TestHowFarAStreamGoes(t *testing.T) {
	p, ctx := single(t), limited(t)
	records := StreamOf(BucketState)
	if none, err := p.Extent(ctx, records); none.Last != 0 || !none.Stored.IsZero() || none.Keep != MarkerTTL || err != nil {
		t.Errorf("without a record it is %+v (%v)", none, err)
	}
	must(t, p.Bucket(BucketState).Put(ctx, "42", Encode(Record{Version: Version})))
	if one, err := p.Extent(ctx, records); one.Messages != 1 || one.First != 1 || one.Last != 1 || time.Since(one.Stored).Abs() > time.Minute || err != nil {
		t.Errorf("with a record that is written now it is %+v (%v)", one, err)
	}
}

// A stream counts as purged if nothing else can have removed all that it held.
func TestWhatCountsAsAPurge(t *testing.T) {
	now, long := time.Now(), time.Now().Add(-2*day)
	held := Extent{Messages: 3, First: 8, Last: 10, Stored: now}
	old := Extent{Messages: 3, First: 8, Last: 10, Stored: long}
	for name, test := range map[string]struct {
		before, after Extent
		want          bool
	}{
		"nothing has happened":                          {held, held, false},
		"messages have come":                            {held, Extent{Messages: 5, First: 8, Last: 12, Keep: day}, false},
		"the oldest have expired":                       {held, Extent{Messages: 1, First: 10, Last: 10, Keep: day}, false},
		"purged":                                        {held, Extent{First: 11, Last: 10, Keep: day}, true},
		"purged, and two have come":                     {held, Extent{Messages: 2, First: 11, Last: 12, Keep: day}, true},
		"three may have replaced them":                  {held, Extent{Messages: 3, First: 11, Last: 13, Keep: day}, false},
		"all have expired":                              {old, Extent{First: 11, Last: 10, Keep: day}, false},
		"purged though they never expire":               {old, Extent{First: 11, Last: 10}, true},
		"they were handled":                             {held, Extent{First: 11, Last: 10, Keep: -1}, false},
		"its stamp is there, and all else was replaced": {Extent{Messages: 3, First: 8, Last: 10, Stored: now, Stamp: 8}, Extent{Messages: 1, First: 11, Last: 11, Stamp: 8}, false},
		"its stamp is gone, and ten have come":          {Extent{Messages: 3, First: 8, Last: 10, Stored: now, Stamp: 8}, Extent{Messages: 10, First: 11, Last: 20}, true},
		"it was purged, and stamped again":              {Extent{Messages: 3, First: 8, Last: 10, Stored: now, Stamp: 8}, Extent{Messages: 10, First: 11, Last: 20, Stamp: 15}, true},
		"it had no stamp yet":                           {held, Extent{Messages: 4, First: 8, Last: 11, Stamp: 11}, false},
		"there was none":                                {Extent{Last: 10, Stored: now}, Extent{Messages: 1, First: 11, Last: 11, Keep: day}, false},
	} {
		if test.after.Purged(test.before) != test.want {
			t.Errorf("%s: a purge is %v", name, !test.want)
		}
	}
}

// A purge of a stamped bucket is recognised however much is written afterwards, and the bucket has a stamp again.
func TestAPurgeThatManyMessagesFollow(t *testing.T) {
	p, ctx := single(t), limited(t)
	for _, bucket := range stamped {
		name := StreamOf(bucket)
		must(t, p.Bucket(bucket).Put(ctx, "a", []byte("1")))
		stampedAt := func() map[string]Extent {
			extents, _, err := p.Extents(ctx)
			must(t, err)
			must(t, p.StampBuckets(ctx, extents))
			extents, _, err = p.Extents(ctx)
			must(t, err)
			return extents
		}
		before := stampedAt()
		if again := stampedAt(); before[name].Stamp == 0 || again[name].Purged(before[name]) {
			t.Errorf("%s is %+v, and then %+v", bucket, before[name], again[name])
		}
		must(t, p.Stream(name).Purge(ctx))
		for range 5 {
			must(t, p.Bucket(bucket).Put(ctx, "a", []byte("1")))
		}
		if after, err := p.Extent(ctx, name); err != nil || !after.Purged(before[name]) {
			t.Errorf("%s was purged, and is %+v (%v)", bucket, after, err)
		}
		if again := stampedAt(); again[name].Stamp == 0 || !again[name].Purged(before[name]) {
			t.Errorf("%s was purged, and is %+v with another stamp", bucket, again[name])
		}
	}
}

// New data lacks nothing; records without any cursor show that the cursors' bucket was lost, and operators are told.
func TestCursorsThatWereLost(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	p := open(t, url)
	must(t, p.Bucket(BucketState).Put(ctx, "42", Encode(Record{Version: Version})))
	for _, key := range []string{PartitionKey(3), ""} { // a cursor shows that only the stamp was deleted
		must(t, p.Stream(StreamOf(BucketCheckpoint)).Purge(ctx))
		if key != "" {
			must(t, p.SaveCursor(ctx, key, 7))
		}
		open(t, url)
		found, has, err := p.LastMismatch(ctx)
		if lost := key == ""; err != nil || has != lost || lost && !strings.HasSuffix(found.Reason, StreamOf(BucketCheckpoint)) {
			t.Errorf("with the key %q operators are told %+v (%v)", key, found, err)
		}
	}
}

// A process that may make no streams stamps the data again all the same where the bucket of cursors is there and was purged.
func TestRecreatingStreamsWithoutTheRight(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	open(t, url)
	p := open(t, url, func(c *Config) { c.Bound = true })
	must(t, p.Stream(StreamOf(BucketCheckpoint)).Purge(ctx))
	if err := p.RecreateStreams(ctx, []string{StreamFlow}); !errors.Is(err, ErrNotProvisioned) {
		t.Errorf("of a lost stream: %v", err)
	}
	must(t, p.RecreateStreams(ctx, nil))
	if _, revision, err := p.Bucket(BucketCheckpoint).Get(ctx, stampKey); revision == 0 || err != nil {
		t.Errorf("the data has no stamp (%v)", err)
	}
}

// Only who has the right to writes the zone of new data; one that may not leaves it to the next that may.
func TestWhoStampsNewData(t *testing.T) {
	for role, stamps := range map[Role]bool{"": true, RoleAll: true, RoleWorker: true, RoleOperator: true, RoleBridge: false, RoleAPI: false, RoleReader: false} {
		url := natstest.Server(t)
		ctx := limited(t)
		first := open(t, url, func(c *Config) { c.Zone, c.Role = 7, role })
		_, revision, err := first.Bucket(BucketCheckpoint).Get(ctx, stampKey)
		must(t, err)
		if (revision > 0) != stamps {
			t.Errorf("role %q stamps new data: %v", role, revision > 0)
		}
		other, err := Open(ctx, Config{URL: url, Zone: 8, Role: RoleWorker})
		if errors.Is(err, ErrOtherZone) != stamps || !stamps && err != nil {
			t.Errorf("after role %q of zone 7 a worker of zone 8 gets %v", role, err)
		}
		if err == nil {
			other.Close()
		}
	}
}

// A stamp that cannot be read stops everybody: which zone's the data is, is not known, and the error tells what to delete.
func TestAStampThatCannotBeRead(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	p := open(t, url)
	must(t, p.Bucket(BucketCheckpoint).Put(ctx, stampKey, []byte("zero")))
	for _, role := range Roles {
		if _, err := Open(ctx, Config{URL: url, Role: role}); err == nil || !strings.Contains(err.Error(), "delete the key zone of FLOW_CHECKPOINT") {
			t.Errorf("%s: %v", role, err)
		}
	}
	must(t, p.Bucket(BucketCheckpoint).Purge(ctx, stampKey))
	open(t, url)
}

// A call on a bucket that is gone says what it was about, whoever reads the log.
func TestErrorsOfALostBucketNameWhatWasDone(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.JetStream().DeleteStream(ctx, StreamOf(BucketCheckpoint)))
	must(t, p.JetStream().DeleteStream(ctx, StreamOf(BucketState)))
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, load := p.LoadCursor(short, RouterKey)
	_, begin := p.BeginCursor(short, RouterKey, 1)
	_, furthest := p.FurthestCursor(short, StreamWork)
	_, _, mark := OnedNote.Load(short, p)
	_, _, mismatch := p.LastMismatch(short)
	_, extent := p.Extent(short, StreamOf(BucketState))
	for want, err := range map[string]error{
		"load the cursor router":                    load,
		"begin the cursor router":                   begin,
		"load the cursor work-0":                    furthest,
		"save the cursor router":                    p.SaveCursor(short, RouterKey, 1),
		"read the key oned of FLOW_CHECKPOINT":      mark,
		"read the key mismatch of FLOW_CHECKPOINT":  mismatch,
		"write the key oned of FLOW_CHECKPOINT":     OnedNote.Save(short, p, OnedMark{}),
		"write the key mismatch of FLOW_CHECKPOINT": p.NoteMismatch(short, "no reason"),
		"read the zone of the data":                 p.CheckZone(short, RoleAll),
		"ask how far stream KV_FLOW_STATE goes":     extent,
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Names that anybody may give become one token each, none of which leaves its place in a subject.
func TestTokensOfNames(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "_",
		"web":                    "web",
		"web-1":                  "web-1",
		"größe":                  "größe",
		"a.b":                    "a_b",
		"*":                      "_",
		">":                      "_",
		"a b\tc\r\nd":            "a_b_c__d",
		"a\x00b\x7f":             "a_b_",
		"bad\xffutf":             "bad\uFFFDutf",
		"$JS":                    "$JS",
		"..":                     "__",
		strings.Repeat("é", 64):  strings.Repeat("é", 64),
		strings.Repeat("a", 128): strings.Repeat("a", 128),
	} {
		if got := Token(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
	cut := Token(strings.Repeat("é", 65)) // 130 bytes, cut in the middle of a letter at none of them
	if odd := Token("x" + strings.Repeat("é", 65)); len(cut) != 64+1+16 || !strings.HasPrefix(odd, "x"+strings.Repeat("é", 31)+"-") || strings.ContainsRune(odd, '\uFFFD') {
		t.Errorf("long names become %q and %q", cut, odd)
	}
}

func TestSubjectsOfTransitions(t *testing.T) {
	vm := 21
	for want, transition := range map[string]Transition{
		"flow.event.42.service.NEW":     transitionOf("service", "", nil),
		"flow.event.42.role.we_b.NEW":   transitionOf("role", "we.b", nil),
		"flow.event.42.router.gate.NEW": transitionOf("router", "gate", nil),
		"flow.event.42.network.Pub.NEW": transitionOf("network", "Pub", nil),
		"flow.event.42.vm.21.NEW":       transitionOf("vm", "web", &vm),
	} {
		if got := TransitionSubject(transition); got != want {
			t.Errorf("%+v is on %s, want %s", transition.Change, got, want)
		}
	}
	for want, got := range map[string]string{
		"one.0.api.vm.update.ok":          CallSubject(0, "one.vm.update", true),
		"one.3.api.document.chmod.failed": CallSubject(3, "one.document.chmod", false),
		"one.0.api.nonsense._.ok":         CallSubject(0, "nonsense", true),
		"one.0.api.vm.disk_attach.ok":     CallSubject(0, "one.vm.disk.attach", true),
		"one.0.api.document.>":            CallSubjects(0, "document"),
		"one.0.net.3.READY":               ObjectSubject(0, "net", 3, "READY"),
		"one.0.vm.21.NEW_STATE.X_Y":       VMSubject(0, 21, "NEW STATE", "X.Y"),
		"flow.dlq.of_a_part":              DeadSubject("of.a part"),
		"$KV.FLOW_STATE.42":               KeySubject(BucketState, "42"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Of a dead letter's headers only those of its message go out with it again: nothing that NATS acts on, and no inbox of one who has gone.
func TestHeadersThatAMessageKeeps(t *testing.T) {
	for header, want := range map[string]bool{
		HeaderFeed: true, HeaderResync: true, HeaderWebhooks: true, HeaderNonce: true,
		HeaderReason: false, HeaderOrigin: false, HeaderReplyTo: false, HeaderTrace: false, // what comes of it now is no part of the trace of then
		jetstream.MsgIDHeader: false, jetstream.MsgRollup: false, jetstream.ExpectedLastSeqHeader: false, "Nats-Schedule": false, "X-Other": false, "": false,
	} {
		if got := KeepsHeader(header); got != want {
			t.Errorf("%q is kept: %v", header, got)
		}
	}
	message := jetstream.RawStreamMsg{
		Subject: "flow.dlq.webhook", Sequence: 7, Data: []byte(`{"service":42}`), Time: time.Date(2026, 11, 28, 13, 0, 0, 0, time.FixedZone("", 3600)),
		Header: nats.Header{HeaderReason: {"it answered 500"}, HeaderOrigin: {"flow.hook.ops.42"}},
	}
	letter := ReadDeadLetter(message)
	if letter.Where != "webhook" || letter.Sequence != 7 || letter.Reason != "it answered 500" || letter.Origin != "flow.hook.ops.42" || letter.Service() != 42 {
		t.Errorf("the dead letter is %+v", letter)
	}
	if letter.Time.Location() != time.UTC || letter.Time.Hour() != 12 {
		t.Errorf("its time is %s", letter.Time)
	}
}
