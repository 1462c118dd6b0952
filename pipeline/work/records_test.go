package work

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func recordOf(service int, applied uint64) pipeline.Record {
	return pipeline.Record{Applied: applied, State: flow.State{Service: spec.Service{ID: service}}}
}

func TestARecordIsSavedByCompareAndSet(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		record, revision, err := p.LoadRecord(ctx, 42)
		must(t, err)
		if revision != 0 || record.Applied != 0 {
			t.Fatalf("a record that is not there is %+v, revision %d", record, revision)
		}
		first, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
		must(t, err)
		second, err := p.SaveRecord(ctx, 42, recordOf(42, 2), first)
		must(t, err)
		for _, stale := range []uint64{0, first, second + 100} {
			if _, err := p.SaveRecord(ctx, 42, recordOf(42, 3), stale); !errors.Is(err, pipeline.ErrConflict) {
				t.Errorf("saved over revision %d: %v", stale, err)
			}
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 2), first); !errors.Is(err, pipeline.ErrConflict) {
			t.Errorf("a second writer of the same content went on: %v", err)
		}
		if _, err := p.SaveRecord(ctx, 7, recordOf(7, 1), 5); !errors.Is(err, pipeline.ErrConflict) {
			t.Errorf("saved what was not there: %v", err)
		}
		record, revision, err = p.LoadRecord(ctx, 42)
		must(t, err)
		if record.Applied != 2 || revision != second || record.Version != pipeline.Version {
			t.Errorf("loaded %+v, revision %d", record, revision)
		}
	})
}

// TestTheRecordOfAnEndedServiceExpires, and no other: one that takes its place stays.
func TestTheRecordOfAnEndedServiceExpires(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		ttl := func() string {
			last, err := p.Client.Stream(stateStream).Last(ctx, pipeline.KeySubject(pipeline.BucketState, "42"))
			must(t, err)
			return last.Header.Get(headerTTL)
		}
		var revision uint64
		for _, ended := range []bool{false, true, false} {
			record := recordOf(42, 1)
			record.Deleted = ended
			var err error
			revision, err = p.SaveRecord(ctx, 42, record, revision)
			must(t, err)
			if got := ttl(); ended != (got == pipeline.TombstoneTTL.String()) || !ended && got != "" {
				t.Errorf("ended %t: it is kept for %q", ended, got)
			}
		}
		expiring := nats.NewMsg(pipeline.KeySubject(pipeline.BucketState, "42"))
		expiring.Data = pipeline.Encode(pipeline.Record{})
		expiring.Header.Set(headerTTL, "1s")
		_, err := p.JetStream().PublishMsg(ctx, expiring)
		must(t, err)
		poll.Until(t, "the record to expire", func() bool {
			_, revision, err = p.LoadRecord(ctx, 42)
			return err == nil && revision == 0
		})
		count := 0
		must(t, p.EachRecord(ctx, func(int, pipeline.Record) { count++ }))
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0); err != nil || count != 0 {
			t.Errorf("%d records are left; the next one ends with %v", count, err)
		}
	})
}

// Of many writers from the same revision exactly one wins, every time.
func TestOneWriterWins(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		revision := uint64(0)
		for round := range 12 {
			var wins atomic.Int32
			var won atomic.Uint64
			var group errgroup.Group
			for range 6 {
				group.Go(func() error {
					saved, err := p.SaveRecord(ctx, 42, recordOf(42, uint64(round)), revision)
					if errors.Is(err, pipeline.ErrConflict) {
						return nil
					}
					if err == nil {
						wins.Add(1)
						won.Store(saved)
					}
					return err
				})
			}
			must(t, group.Wait())
			if wins.Load() != 1 {
				t.Fatalf("round %d: %d writers won", round, wins.Load())
			}
			revision = won.Load()
		}
	})
}

// An operator who deletes a record leaves a marker in its place.
func TestADeletedRecordCanBeMadeAgain(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		revision, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
		must(t, err)
		must(t, p.Client.Bucket(pipeline.BucketState).Purge(ctx, "42"))
		if _, found, err := p.LoadRecord(ctx, 42); err != nil || found != 0 {
			t.Fatalf("revision %d, %v", found, err)
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 2), revision); !errors.Is(err, pipeline.ErrConflict) {
			t.Errorf("a stale writer brought the record back: %v", err)
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 3), 0); err != nil {
			t.Fatal(err)
		}
	})
}

// A record that was written a moment ago is read as written, whichever replica
// the reader is connected to.
func TestAReadIsNeverBehindAWrite(t *testing.T) {
	nodes := natstest.Cluster(t, 3)
	writer, ctx := open(t, nodes.URL(), replicas(3)), limited(t)
	for _, node := range nodes {
		reader := open(t, node.URL())
		for round := range uint64(100) {
			_, now, err := writer.LoadRecord(ctx, 42)
			must(t, err)
			revision, err := writer.SaveRecord(ctx, 42, recordOf(42, round), now)
			must(t, err)
			_, found, err := reader.LoadRecord(ctx, 42)
			must(t, err)
			if found != revision {
				t.Fatalf("round %d: revision %d was read after %d was written", round, found, revision)
			}
		}
	}
}

// Records that are saved at the same time are stored together; each caller gets its own
// revision, and all of them can be listed.
func TestManyRecordsAreSavedAndRead(t *testing.T) {
	p, ctx := single(t), limited(t)
	const count = 1100 // more than a direct multi-get returns
	revisions := make([]uint64, count)
	var group errgroup.Group
	group.SetLimit(64)
	for service := range count {
		group.Go(func() (err error) {
			revisions[service], err = p.SaveRecord(ctx, service, recordOf(service, 1), 0)
			return err
		})
	}
	must(t, group.Wait())
	must(t, p.Client.Bucket(pipeline.BucketState).Purge(ctx, "3"))
	read := map[int]uint64{}
	must(t, p.EachRecord(ctx, func(service int, record pipeline.Record) { read[service] = record.Applied }))
	if _, found := read[3]; len(read) != count-1 || found {
		t.Errorf("%d records are read", len(read))
	}
	for service, want := range revisions {
		if found, err := p.RecordRevision(ctx, service); service != 3 && (found != want || err != nil) {
			t.Errorf("the record of service %d has revision %d (%v), want %d", service, found, err, want)
		}
	}
	must(t, p.Client.Bucket(pipeline.BucketState).Put(ctx, "5", []byte("no record")))
	if _, _, err := p.LoadRecord(ctx, 5); err == nil {
		t.Error("an unreadable record was loaded")
	}
	older := pipelineOfSchema(t, p, 1)
	if _, _, err := older.LoadRecord(ctx, 7); !errors.Is(err, pipeline.ErrNewer) {
		t.Errorf("an older version loaded a newer one's record: %v", err)
	}
}

// pipelineOfSchema is another connection to a pipeline's server, of an older or newer version.
func pipelineOfSchema(t *testing.T, p clients, schema int) clients {
	t.Helper()
	return open(t, p.State().Server, func(c *pipeline.Config) { c.Schema = schema })
}

// A bucket that an older Flowjet has made takes no batches until it is provisioned again.
func TestRecordsAreSavedWhereNoBatchIsTaken(t *testing.T) {
	p, ctx := single(t), limited(t)
	config := p.Client.Stream(stateStream).Config()
	config.AllowAtomicPublish = false
	_, err := p.JetStream().UpdateStream(ctx, config)
	must(t, err)
	var group errgroup.Group
	for service := range 64 {
		group.Go(func() error {
			_, err := p.SaveRecord(ctx, service, recordOf(service, 1), 0)
			return err
		})
	}
	must(t, group.Wait())
	count := 0
	if must(t, p.EachRecord(ctx, func(int, pipeline.Record) { count++ })); count != 64 {
		t.Errorf("%d records are saved", count)
	}
}

// A write whose answer was lost is found by its nonce, and taken for nobody else's.
func TestAWriteWhoseAnswerWasLostIsFound(t *testing.T) {
	p, ctx := single(t), limited(t)
	var first uint64
	sentTwice := func(ctx context.Context, message *nats.Msg) (sequence uint64, err error) {
		first, err = p.Publish(ctx, message)
		must(t, err)
		return p.Publish(ctx, message)
	}
	if saved, err := p.save(ctx, 42, recordOf(42, 1), 0, sentTwice); err != nil || saved != first {
		t.Errorf("the write got revision %d (%v), want %d", saved, err, first)
	}
	if _, err := p.SaveRecordNow(ctx, 42, recordOf(42, 1), 0); !errors.Is(err, pipeline.ErrConflict) {
		t.Errorf("another write of the same content: %v", err)
	}
	if owner, err := p.OwnerOf(ctx, 42); owner != "" || err != nil {
		t.Errorf("the owner is %q (%v)", owner, err)
	}
}

func TestOwners(t *testing.T) {
	p, ctx := single(t), limited(t)
	if _, known, err := p.Owner(ctx, "vm", 21); known || err != nil {
		t.Fatalf("%v, %v", known, err)
	}
	must(t, p.PutOwners(ctx, Owner{Kind: "vm", ID: 21, Service: 42}, Owner{Kind: "net", ID: 21, Service: 43}))
	service, known, err := p.Owner(ctx, "vm", 21)
	if service != 42 || !known || err != nil {
		t.Fatalf("%d, %v, %v", service, known, err)
	}
	must(t, p.ForgetOwner(ctx, "vm", 21))
	if _, known, err := p.Owner(ctx, "vm", 21); known || err != nil {
		t.Fatalf("%v, %v", known, err)
	}
	if service, _, _ := p.Owner(ctx, "net", 21); service != 43 {
		t.Errorf("the network belongs to %d", service)
	}
}
