package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
)

// deleted deletes streams, as an administrator may.
func deleted(t *testing.T, p *Pipeline, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, p.JetStream().DeleteStream(limited(t), name))
	}
}

// A stream that is made again is configured as the lost one, and its messages have later numbers than those that were read:
// else readers would wait until their cursors are reached again.
func TestStreamsThatWereLost(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas, " servers"), func(t *testing.T) {
			var url string
			if url = natstest.Server(t); replicas > 1 {
				url = natstest.Cluster(t, replicas).URL()
			}
			p, ctx := open(t, url, func(c *Config) { c.Replicas = replicas }), limited(t)
			must(t, p.SaveCursor(ctx, PartitionKey(5), 40))
			must(t, p.SaveCursor(ctx, RouterKey, 70))
			before := map[string]any{}
			lost := []string{StreamONE, StreamWork, StreamFlow, StreamOf(BucketCommands)}
			for _, name := range lost {
				info, err := p.Stream(name).Info(ctx)
				must(t, err)
				before[name] = fmt.Sprint(info.Config.Subjects, info.Config.MaxBytes, info.Config.MaxAge, info.Config.Replicas, info.Config.AllowMsgSchedules)
			}
			deleted(t, p, lost...)
			extents, missing, err := p.Extents(ctx)
			must(t, err)
			slices.Sort(missing)
			if !slices.Equal(missing, slices.Sorted(maps.Keys(before))) || len(extents)+len(missing) != len(allStreams) {
				t.Errorf("lost are %v, and %d are there", missing, len(extents))
			}

			must(t, p.RecreateStreams(ctx, missing))
			for _, name := range lost {
				info, err := p.Stream(name).Info(ctx)
				must(t, err)
				if now := fmt.Sprint(info.Config.Subjects, info.Config.MaxBytes, info.Config.MaxAge, info.Config.Replicas, info.Config.AllowMsgSchedules); now != before[name] {
					t.Errorf("%s is %s, and was %s", name, now, before[name])
				}
			}
			for name, read := range map[string]uint64{StreamONE: 70, StreamWork: 40, StreamFlow: 0} {
				extent, err := p.Extent(ctx, name)
				must(t, err)
				if read > 0 && extent.Last < read || read == 0 && extent.Last != 0 {
					t.Errorf("after the cursor %d stream %s goes on behind %d", read, name, extent.Last)
				}
			}
			if _, missing, err = p.Extents(ctx); len(missing) > 0 || err != nil {
				t.Errorf("lost are %v still (%v)", missing, err)
			}
		})
	}
}

// Records show how far their service has read where the cursors are lost, too.
func TestWorkThatIsLostWithItsCursorsGoesOnBehindTheRecords(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.Bucket(BucketState).Put(ctx, "42", Encode(Record{Version: Version, Applied: 900})))
	must(t, p.Bucket(BucketState).Put(ctx, "43", []byte("no JSON")))
	deleted(t, p, StreamWork, StreamOf(BucketCheckpoint))
	_, lost, err := p.Extents(ctx)
	must(t, err)
	must(t, p.RecreateStreams(ctx, lost))
	if extent, err := p.Extent(ctx, StreamWork); extent.Last < 900 || err != nil {
		t.Errorf("the work goes on behind %d, and 900 was applied (%v)", extent.Last, err)
	}
}

// Of two workers that find a stream lost, one is faster.
func TestAStreamThatAnotherHasMadeAgain(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	p, other := open(t, url), open(t, url)
	deleted(t, p, StreamDead)
	must(t, other.RecreateStreams(ctx, []string{StreamDead}))
	_, err := p.JetStream().Publish(ctx, DeadSubject("worker"), []byte("{}"))
	must(t, err)
	must(t, p.RecreateStreams(ctx, []string{StreamDead}))
	if extent, err := p.Extent(ctx, StreamDead); extent.Messages != 1 || err != nil {
		t.Errorf("it has %d messages (%v)", extent.Messages, err)
	}
}

// The extents of an earlier process show what was lost while none ran.
func TestExtentsOutliveAProcess(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	first := open(t, url)
	if none, _, err := ExtentsNote.Load(ctx, first); len(none) > 0 || err != nil {
		t.Errorf("new data has extents: %v (%v)", none, err)
	}
	must(t, first.Bucket(BucketState).Put(ctx, "42", Encode(Record{Version: Version})))
	saved, _, err := first.Extents(ctx)
	must(t, err)
	must(t, ExtentsNote.Save(ctx, first, saved))
	first.Close()

	second := open(t, url)
	loaded, _, err := ExtentsNote.Load(ctx, second)
	must(t, err)
	for name, extent := range saved {
		before, is := loaded[name]
		if !is || before.Messages != extent.Messages || before.Last != extent.Last || extent.Lacks(before) || extent.Purged(before) {
			t.Errorf("%s is %+v, and was %+v", name, before, extent)
		}
	}
	must(t, second.Bucket(BucketCheckpoint).Put(ctx, string(ExtentsNote), []byte("no JSON")))
	if none, _, err := ExtentsNote.Load(ctx, second); len(none) > 0 || err != nil {
		t.Errorf("of what cannot be read there is %v (%v)", none, err)
	}
}

func TestWhatAStreamLacks(t *testing.T) {
	made := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	before := Extent{Made: made, Last: 10}
	for name, test := range map[string]struct {
		now  Extent
		want bool
	}{
		"the same, in another zone of time": {Extent{Made: made.In(time.FixedZone("", 3600)), Last: 10}, false},
		"more":                              {Extent{Made: made, Last: 11}, false},
		"its last messages":                 {Extent{Made: made, Last: 9}, true},
		"everything, made again":            {Extent{Made: made.Add(time.Second), Last: 500}, true},
	} {
		if got := test.now.Lacks(before); got != test.want {
			t.Errorf("%s: it lacks something: %t", name, got)
		}
	}
}

func TestStreamsOfBuckets(t *testing.T) {
	buckets := 0
	for _, name := range allStreams {
		if IsBucket(name) {
			buckets++
		}
	}
	if buckets == 0 || buckets == len(allStreams) || !IsBucket(StreamOf(BucketHooks)) || IsBucket(StreamHook) {
		t.Errorf("%d of the streams %v are under buckets", buckets, allStreams)
	}
}
