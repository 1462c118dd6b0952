package inspect

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/presence"
)

func TestAttachMakesNothing(t *testing.T) {
	node, ctx := natstest.NewNode(t), limited(t)
	for range 2 {
		attached, missing, err := pipeline.Attach(ctx, pipeline.Config{URL: node.URL()})
		must(t, err)
		if len(missing) != len(pipeline.Streams(1)) || !slices.Contains(missing, pipeline.StreamFlow) {
			t.Errorf("on a bare server %v are missing", missing)
		}
		overview, err := New(attached).Overview(ctx, missing)
		must(t, err)
		if len(overview.Workers) != 0 || len(overview.Unowned) != len(pipeline.Keys()) || len(overview.Streams) != 0 {
			t.Errorf("a bare server shows %+v", overview)
		}
		attached.Close()
	}
}

func TestOverviewAndWhyShowWhatWaits(t *testing.T) {
	p, ctx := single(t), limited(t)
	state := spec.ServiceWarning
	record := pipeline.Record{State: flow.State{Service: spec.Service{ID: 42, Body: spec.Body{Name: "a", State: &state}}}}
	_, err := p.SaveRecord(ctx, 42, record, 0)
	must(t, err)
	_, err = p.PublishWork(ctx, pipeline.Work{Service: 42, Reason: "a test"}, nuid.Next())
	must(t, err)
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "worker", Reason: "it failed", Data: pipeline.Encode(pipeline.Work{Version: 1, Service: 42}), Origin: pipeline.WorkSubject(42)}))
	why, err := p.Why(ctx, 42, nil)
	must(t, err)
	if why.State != "WARNING" || why.Backlog.Count != 1 || why.Backlog.Oldest.IsZero() || why.DeadLetters != 1 || len(why.Next) < 2 || len(why.Notes) != 1 {
		t.Errorf("why says %+v", why)
	}
	overview, err := p.Overview(ctx, nil)
	must(t, err)
	if overview.Services["WARNING"] != 1 || overview.DeadLetters["worker"] != 1 {
		t.Errorf("the overview says %+v", overview)
	}
	reader := slices.IndexFunc(overview.Readers, func(r ReaderStatus) bool { return r.Reader == pipeline.PartitionKey(pipeline.Partition(42)) })
	if reader < 0 || overview.Readers[reader].Lag != 1 {
		t.Errorf("the readers are %+v", overview.Readers)
	}
	letters, err := p.DeadLetters(ctx, 10)
	must(t, err)
	must(t, p.Retry(ctx, letters[0]))
	if why, err = p.Why(ctx, 42, nil); err != nil || why.Backlog.Count != 2 || why.DeadLetters != 0 {
		t.Errorf("after the retry why says %+v, %v", why, err)
	}
}

// Users see explanations: what failed at the operators' receivers of webhooks is not among it, at the service's own it is.
func TestWhatWhySaysOfFailedDeliveries(t *testing.T) {
	p, ctx := single(t), limited(t)
	_, err := p.SaveRecord(ctx, 42, pipeline.Record{State: flow.State{Service: spec.Service{ID: 42}}}, 0)
	must(t, err)
	for reason, delivery := range map[string]pipeline.Delivery{
		"dial tcp 10.0.0.7:443: connection refused": {Service: 42, Receiver: "ops"}, "410 Gone": {Service: 42, URL: "https://example.com"},
	} {
		must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "webhook", Reason: reason, Data: pipeline.Encode(delivery)}))
	}
	why, err := p.Why(ctx, 42, nil)
	must(t, err)
	if why.DeadLetters != 1 || len(why.Notes) != 1 || why.Notes[0].Said != "410 Gone" {
		t.Errorf("why says %+v", why)
	}
}

// TestTheOverviewOfALivingSystem has a worker, two feeds of which one has a live bridge,
// and a process.
func TestTheOverviewOfALivingSystem(t *testing.T) {
	p, ctx := single(t), limited(t)
	join(t, p.State().Server, "a")
	all := feeds.New(p.Pipeline)
	alive, err := all.Acquire(ctx, "fe1", "bridge-1", 0)
	must(t, err)
	_, err = all.Acquire(ctx, "fe2", "bridge-2", 0)
	must(t, err)
	released, err := all.Acquire(ctx, "fe3", "bridge-3", 0)
	must(t, err)
	must(t, released.Release(ctx))
	process, err := presence.Announce(p.Pipeline, func() pipeline.Process {
		return pipeline.Process{ID: "one", Name: "fe1 worker", Host: "fe1", OnedReads: pipeline.OnedReads{Reads: 30, Slow: 2}, Disk: &pipeline.Disk{Folder: "/data", Used: 0.5, Free: 7}}
	})
	must(t, err)
	defer process.Leave(ctx)
	beats, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for beats.Err() == nil {
			_ = alive.Beat(false, true)
			_ = released.Beat(false, true)
			_ = idle.For(beats, 100*time.Millisecond)
		}
	}()
	record := deploying(42, 21)
	record.Timers["late"] = pipeline.TimerState{Due: time.Now().Add(-time.Hour)}
	_, err = p.SaveRecord(ctx, 42, record, 0)
	must(t, err)
	_, err = p.SaveRecord(ctx, 43, pipeline.Record{Deleted: true}, 0)
	must(t, err)
	waiting := deliveries.New(p.Pipeline)
	must(t, waiting.QueueDeliveries(ctx, deliveries.Queued{Subject: pipeline.HookSubject("ops", 42), Delivery: pipeline.Delivery{ID: "1"}})[0])
	must(t, waiting.SaveAttempts(ctx, pipeline.HookSubject("ops", 42), pipeline.Attempts{Count: 2}))
	must(t, p.SaveCursor(ctx, pipeline.WebhooksCursor, 1))

	var overview Overview
	poll.Until(t, "the heartbeats to be heard", func() bool {
		overview, err = p.Overview(ctx, nil)
		must(t, err)
		return overview.Feeds[0].Alive && len(overview.Disks) > 0
	})
	if len(overview.Workers) != 1 || !overview.Workers[0].Router || len(overview.Workers[0].Partitions) != pipeline.Partitions || len(overview.Unowned) != 0 {
		t.Errorf("the workers are %+v", overview.Workers)
	}
	for i, want := range []FeedStatus{{Feed: "fe1", Holder: "bridge-1", Alive: true}, {Feed: "fe2", Holder: "bridge-2"}, {Feed: "fe3", Holder: "bridge-3"}} {
		found := overview.Feeds[i]
		if found.Since = (time.Time{}); found != want {
			t.Errorf("a feed is %+v, want %+v", found, want)
		}
	}
	if overview.Oned != (pipeline.OnedReads{Reads: 30, Slow: 2}) {
		t.Errorf("oned answered %+v", overview.Oned)
	}
	if want := (DiskStatus{"fe1 worker", "fe1", pipeline.Disk{Folder: "/data", Used: 0.5, Free: 7}}); len(overview.Disks) != 1 || overview.Disks[0] != want {
		t.Errorf("the disks are %+v, want %+v", overview.Disks, want)
	}
	if len(overview.Services) != 1 || overview.Services["DEPLOYING"] != 1 || overview.Timers != (TimerCount{Set: 2, Overdue: 1}) || overview.Webhooks != (WebhookCount{1, 1}) {
		t.Errorf("counted are %v, %+v, %+v", overview.Services, overview.Timers, overview.Webhooks)
	}
	if len(overview.Streams) != len(pipeline.Streams(1)) || len(overview.Readers) != pipeline.Partitions+2 {
		t.Errorf("there are %d streams and %d readers", len(overview.Streams), len(overview.Readers))
	}
}

// The feed of a server that has left the zone is shown again only when a bridge publishes it again.
func TestARetiredFeedIsNotShown(t *testing.T) {
	p, ctx := single(t), limited(t)
	all := feeds.New(p.Pipeline)
	lease, err := all.Acquire(ctx, "fe1", "bridge-1", 0)
	must(t, err)
	must(t, lease.Retire(ctx))
	shown := func(want int) {
		t.Helper()
		if overview, err := p.Overview(ctx, nil); err != nil || len(overview.Feeds) != want {
			t.Errorf("the feeds are %+v, %v", overview.Feeds, err)
		}
	}
	shown(0)
	last, sequence, err := all.LastLease(ctx, "fe1")
	must(t, err)
	if !last.Released || !last.Retired {
		t.Errorf("the lease is %+v", last)
	}
	_, err = all.Acquire(ctx, "fe1", "bridge-2", sequence)
	must(t, err)
	shown(1)
}

// What needs a stream that is missing is left out, and the rest is shown.
func TestTheOverviewOfHalfASystem(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.JetStream().DeleteStream(ctx, pipeline.StreamDead))
	must(t, p.JetStream().DeleteStream(ctx, pipeline.StreamOf(pipeline.BucketState)))
	attached, missing, err := pipeline.Attach(ctx, pipeline.Config{URL: p.State().Server})
	must(t, err)
	defer attached.Close()
	overview, err := New(attached).Overview(ctx, missing)
	must(t, err)
	if len(overview.Missing) != 2 || overview.DeadLetters != nil || overview.Services != nil || overview.Feeds == nil || len(overview.Readers) == 0 {
		t.Errorf("the overview is %+v", overview)
	}
	if _, err := New(attached).Overview(ctx, nil); err == nil {
		t.Error("what is missing is not missed")
	}
}

func TestTroubleOfStreams(t *testing.T) {
	wanted := jetstream.StreamConfig{Name: "ONE", MaxBytes: 2 << 30, MaxAge: 72 * time.Hour}
	replicated := wanted
	replicated.Replicas = 3
	full := wanted
	full.Discard = jetstream.DiscardNew
	small, short := wanted, wanted
	small.MaxBytes, short.MaxAge = 1<<30, time.Hour
	for _, test := range []struct {
		info jetstream.StreamInfo
		want string
	}{
		{jetstream.StreamInfo{Config: wanted}, ""},
		{jetstream.StreamInfo{Config: replicated, Cluster: &jetstream.ClusterInfo{Leader: "n1", Replicas: []*jetstream.PeerInfo{{Name: "n2"}}}}, ""},
		{jetstream.StreamInfo{Config: replicated, Cluster: &jetstream.ClusterInfo{}}, "no leader"},
		{jetstream.StreamInfo{Config: replicated, Cluster: &jetstream.ClusterInfo{Leader: "n1", Replicas: []*jetstream.PeerInfo{{Name: "n2", Offline: true}}}}, "its replica on n2 is unreachable"},
		{jetstream.StreamInfo{Config: replicated, Cluster: &jetstream.ClusterInfo{Leader: "n1", Replicas: []*jetstream.PeerInfo{{Name: "n2", Lag: 100}, {Name: "n3", Lag: 101}}}}, "its replica on n3 is not complete yet"},
		{jetstream.StreamInfo{Config: small}, "its limit is 1024 MiB instead of 2048"},
		{jetstream.StreamInfo{Config: short}, "its max age is 1h0m0s instead of 72h0m0s"},
		{jetstream.StreamInfo{Config: full, State: jetstream.StreamState{Bytes: 2 << 30}}, "more than 90 % full"},
		{jetstream.StreamInfo{Config: wanted, State: jetstream.StreamState{Bytes: 2 << 30}}, ""},
		{jetstream.StreamInfo{Config: wanted, State: jetstream.StreamState{Lost: &jetstream.LostStreamData{Msgs: []uint64{3, 4}}}}, "its files are damaged: 2 of its messages are lost"},
	} {
		var status StreamStatus
		status.judge(&test.info, wanted)
		if got := status.Trouble; !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("the trouble is %q, want %q", got, test.want)
		}
	}
}
