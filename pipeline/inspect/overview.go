package inspect

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
	"github.com/flowjet/flowjet/pipeline/presence"
)

// Overview is how all of Flowjet is doing, as NATS shows it.
type Overview struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	// Server is the NATS server that was asked.
	Server  string         `json:"server"`
	Streams []StreamStatus `json:"streams"`
	Status
	Feeds []FeedStatus `json:"feeds"`
	// Oned is how quickly oned answers all live processes together.
	Oned pipeline.OnedReads `json:"oned"`
	// Services counts services by state; those that have ended are left out.
	Services map[string]int `json:"services"`
	Timers   TimerCount     `json:"timers"`
	Webhooks WebhookCount   `json:"webhooks"`
	// Missing are streams and buckets that are not there.
	Missing []string `json:"missing"`
}

// FeedStatus is one feed of hook events.
type FeedStatus struct {
	Feed string `json:"feed"`
	// Holder is the bridge with the lease, Alive whether it announces itself.
	Holder string    `json:"holder"`
	Alive  bool      `json:"alive"`
	Since  time.Time `json:"since"`
}

// ReaderStatus is how far a reader has come.
type ReaderStatus struct {
	Reader string `json:"reader"`
	Cursor uint64 `json:"cursor"`
	// Lag is how many messages are behind the cursor, Oldest since when the first of them waits.
	Lag    uint64     `json:"lag"`
	Oldest *time.Time `json:"oldest,omitempty"`
}

// TimerCount counts the services' timers.
type TimerCount struct {
	Set     int `json:"set"`
	Overdue int `json:"overdue"`
}

// WebhookCount counts what waits for webhooks.
type WebhookCount struct {
	Waiting uint64 `json:"waiting"`
	// Failing is how many pairs of receiver and service have failed last.
	Failing int `json:"failing"`
}

// overdueAfter is how late a timer may be before it counts as overdue.
const overdueAfter = 15 * time.Second

// Overview reads everything; it listens for a second to hear who is alive.
// Missing is what pipeline.Attach found missing.
func (i *Inspector) Overview(ctx context.Context, missing []string) (Overview, error) {
	overview := Overview{Version: pipeline.Version, Time: time.Now().UTC(), Server: i.core.Server(), Missing: list(missing)}
	c := &collector{Inspector: i, overview: &overview, missing: missing}
	beats, err := c.listen(ctx)
	if err != nil {
		return Overview{}, err
	}
	steps := []struct {
		needs []string
		read  func(context.Context) error
	}{
		{nil, c.streams},
		{[]string{pipeline.StreamONE}, func(ctx context.Context) error { return c.feeds(ctx, beats) }},
		{[]string{pipeline.StreamOf(pipeline.BucketState)}, c.services},
		{[]string{pipeline.StreamHook, pipeline.StreamOf(pipeline.BucketHooks)}, c.webhooks},
	}
	for _, step := range steps {
		if slices.ContainsFunc(step.needs, func(name string) bool { return slices.Contains(missing, name) }) {
			continue
		}
		if err := step.read(ctx); err != nil {
			return Overview{}, err
		}
	}
	return overview, nil
}

type collector struct {
	*Inspector
	overview *Overview
	missing  []string
}

// listenFor is longer than workers, bridges and processes are silent.
const listenFor = time.Second

// listen hears which workers and processes are alive and reads their status; it returns the
// beats of the feeds' holders, by feed.
func (c *collector) listen(ctx context.Context) (map[string]pipeline.FeedBeat, error) {
	observer, err := c.Observe()
	if err != nil {
		return nil, err
	}
	defer observer.Stop()
	feeds, err := liveness.Listen(c.pipe.Conn(), pipeline.SubjectsBridge, 2*presence.MissingAfter, func(beat pipeline.FeedBeat) (string, bool) {
		return beat.Feed, beat.Leaving
	})
	if err != nil {
		return nil, err
	}
	defer feeds.Stop()
	if err := c.hearAll(ctx, observer.processes); err != nil {
		return nil, err
	}
	for _, process := range observer.processes.Live() {
		c.overview.Oned.Reads += process.Reads
		c.overview.Oned.Slow += process.Slow
	}
	c.overview.Status, err = observer.Status(ctx, c.missing...)
	return feeds.Live(), err
}

// hearAll waits until all have had the time to be heard, and longer where one that is expected is not.
func (c *collector) hearAll(ctx context.Context, processes *presence.Follower) error {
	expected, err := presence.Members(ctx, c.pipe)
	if err != nil {
		expected = nil // on a bare server there are none
	}
	began := time.Now()
	for pause := listenFor; ; pause = listenFor / 4 {
		if err := idle.For(ctx, pause); err != nil {
			return err
		}
		heard := map[string]bool{}
		for _, process := range processes.Live() {
			heard[process.Name] = true
		}
		silent := slices.ContainsFunc(expected, func(m presence.Member) bool { return m.Missing == nil && !heard[m.Name] })
		if !silent || time.Since(began) > presence.MissingAfter+listenFor/2 {
			return nil
		}
	}
}

func (c *collector) feeds(ctx context.Context, beats map[string]pipeline.FeedBeat) error {
	feeds := map[string]FeedStatus{}
	err := c.core.Stream(pipeline.StreamONE).EachNewest(ctx, pipeline.SubjectsLeases, func(message js.Message) {
		var lease pipeline.Lease
		if json.Unmarshal(message.Data, &lease) != nil {
			return
		}
		alive := !lease.Released && lease.Token != "" && beats[lease.Feed].Token == lease.Token
		feeds[lease.Feed] = FeedStatus{Feed: lease.Feed, Holder: lease.Holder, Alive: alive, Since: message.Time.UTC()}
	})
	c.overview.Feeds = []FeedStatus{}
	for _, feed := range slices.Sorted(maps.Keys(feeds)) {
		c.overview.Feeds = append(c.overview.Feeds, feeds[feed])
	}
	return err
}

func (c *collector) services(ctx context.Context) error {
	c.overview.Services = map[string]int{}
	return c.records.EachRecord(ctx, func(_ int, record pipeline.Record) {
		if record.Deleted {
			return
		}
		c.overview.Services[record.State.Service.State().String()]++
		for _, timer := range record.Timers {
			c.overview.Timers.Set++
			if c.overview.Time.Sub(timer.Due) > overdueAfter {
				c.overview.Timers.Overdue++
			}
		}
	})
}

func (c *collector) webhooks(ctx context.Context) error {
	waiting, err := c.deliveries.PendingDeliveries(ctx)
	if err != nil {
		return err
	}
	failing, err := c.deliveries.FailingDeliveries(ctx)
	c.overview.Webhooks = WebhookCount{Waiting: waiting, Failing: len(failing)}
	return err
}
