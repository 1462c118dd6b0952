package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Overview is how all of Flowjet is doing, as NATS shows it.
type Overview struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	// Server is the NATS server that was asked.
	Server  string         `json:"server"`
	Streams []StreamStatus `json:"streams"`
	// Workers are those alive, each with what it owns.
	Workers []WorkerShare `json:"workers"`
	// Unowned are the partitions, and the router, that nobody owns: all where no worker
	// is alive, else none.
	Unowned []string     `json:"unowned"`
	Feeds   []FeedStatus `json:"feeds"`
	// Members are the processes that are expected because they have been there.
	Members []presence.Member `json:"members"`
	// Servers are the NATS servers that hold copies of the streams; none where there is one.
	Servers []ServerStatus `json:"servers"`
	// Oned is how quickly oned answers all live processes together.
	Oned    pipeline.OnedReads `json:"oned"`
	Readers []ReaderStatus     `json:"readers"`
	// Services counts services by state; those that have ended are left out.
	Services map[string]int `json:"services"`
	Timers   TimerCount     `json:"timers"`
	// DeadLetters counts them by who gave them up.
	DeadLetters map[string]uint64 `json:"dead_letters"`
	Webhooks    WebhookCount      `json:"webhooks"`
	// Missing are streams and buckets that are not there.
	Missing []string `json:"missing"`
}

// WorkerShare is one live worker with what it owns.
type WorkerShare struct {
	Worker string `json:"worker"`
	// Router and Autoscaler report whether it shares events out, and whether it scales.
	Router          bool  `json:"router"`
	Autoscaler      bool  `json:"autoscaler"`
	OnedUnreachable bool  `json:"blind"`
	Partitions      []int `json:"partitions"`
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
	// Lag is how many messages are behind the cursor, Oldest since when the first
	// of them waits.
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
	overview := Overview{Version: pipeline.Version, Time: time.Now().UTC(), Server: i.core.Server(), Missing: list(missing), Members: []presence.Member{}, Servers: []ServerStatus{}}
	c := &collector{Inspector: i, overview: &overview}
	beats, err := c.listen(ctx)
	if err != nil {
		return Overview{}, err
	}
	steps := []struct {
		needs []string
		read  func(context.Context) error
	}{
		{nil, c.streams},
		{[]string{pipeline.StreamOf(pipeline.BucketCheckpoint)}, c.members},
		{[]string{pipeline.StreamONE}, func(ctx context.Context) error { return c.feeds(ctx, beats) }},
		{[]string{pipeline.StreamONE, pipeline.StreamWork, pipeline.StreamFlow, pipeline.StreamOf(pipeline.BucketCheckpoint)}, c.readers},
		{[]string{pipeline.StreamOf(pipeline.BucketState)}, c.services},
		{[]string{pipeline.StreamDead}, c.deadLetters},
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

// collector reads the parts of an overview.
type collector struct {
	*Inspector
	overview  *Overview
	processes []pipeline.Process
}

// listenFor is longer than workers, bridges and processes are silent.
const listenFor = time.Second

// listen hears which workers and processes are alive, and returns the beats of the feeds'
// holders, by feed.
func (c *collector) listen(ctx context.Context) (map[string]pipeline.FeedBeat, error) {
	observer, err := work.Observe(c.pipe)
	if err != nil {
		return nil, err
	}
	defer observer.Stop()
	feeds, processes := liveness.New[pipeline.FeedBeat](2*presence.MissingAfter), liveness.New[pipeline.Process](2*presence.MissingAfter)
	for subjects, receive := range map[string]nats.MsgHandler{
		pipeline.SubjectsBridge: func(message *nats.Msg) {
			var beat pipeline.FeedBeat
			if json.Unmarshal(message.Data, &beat) == nil && !beat.Leaving {
				feeds.Heard(beat.Feed, beat)
			}
		},
		pipeline.SubjectsProcess: func(message *nats.Msg) {
			var process pipeline.Process
			if json.Unmarshal(message.Data, &process) == nil && !process.Leaving {
				processes.Heard(process.ID, process)
			}
		},
	} {
		subscription, err := c.pipe.Conn().Subscribe(subjects, receive)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", subjects, err)
		}
		defer subscription.Unsubscribe() //nolint:errcheck // the connection ends soon
	}
	if err := c.hearAll(ctx, processes); err != nil {
		return nil, err
	}
	c.overview.Workers, c.overview.Unowned = shares(observer.Live())
	c.processes = slices.Collect(maps.Values(processes.Live()))
	for _, process := range c.processes {
		c.overview.Oned.Reads += process.Reads
		c.overview.Oned.Slow += process.Slow
	}
	return feeds.Live(), nil
}

// hearAll waits until all have had the time to be heard, and longer where one that is
// expected is not.
func (c *collector) hearAll(ctx context.Context, processes *liveness.Set[pipeline.Process]) error {
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

// members are those known, and those heard that are not known yet.
func (c *collector) members(ctx context.Context) error {
	known, err := presence.Members(ctx, c.pipe)
	if err == nil {
		c.overview.Members, _ = presence.Merge(known, c.processes, c.overview.Time)
	}
	return err
}

func shares(live map[string]pipeline.WorkerBeat) (workers []WorkerShare, unowned []string) {
	workers, unowned = []WorkerShare{}, []string{}
	owner := work.Owners(live)
	for _, name := range slices.Sorted(maps.Keys(live)) {
		share := WorkerShare{
			Worker: name, OnedUnreachable: live[name].OnedUnreachable, Partitions: []int{},
			Router: owner[pipeline.RouterKey] == name, Autoscaler: owner[pipeline.AutoscalerKey] == name,
		}
		for partition := range pipeline.Partitions {
			if owner[pipeline.PartitionKey(partition)] == name {
				share.Partitions = append(share.Partitions, partition)
			}
		}
		workers = append(workers, share)
	}
	for _, key := range pipeline.Keys() {
		if owner[key] == "" {
			unowned = append(unowned, key)
		}
	}
	return workers, unowned
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

func (c *collector) readers(ctx context.Context) error {
	c.overview.Readers = []ReaderStatus{}
	readers := []reader{router, webhooks}
	for partition := range pipeline.Partitions {
		readers = append(readers, partitionReader(partition))
	}
	for _, one := range readers {
		cursor, err := c.pipe.LoadCursor(ctx, one.cursor)
		if err != nil {
			return err
		}
		if one == webhooks && cursor == 0 {
			continue // there are no webhooks
		}
		lag, oldest, err := c.core.Stream(one.stream).Backlog(ctx, one.filter, cursor)
		if err != nil {
			return fmt.Errorf("read the position of %s: %w", one.cursor, err)
		}
		c.overview.Readers = append(c.overview.Readers, ReaderStatus{Reader: one.cursor, Cursor: cursor, Lag: lag, Oldest: timeOf(oldest)})
	}
	return nil
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

func (c *collector) deadLetters(ctx context.Context) error {
	info, err := c.core.Stream(pipeline.StreamDead).Info(ctx, jetstream.WithSubjectFilter(pipeline.SubjectsDead))
	if err != nil {
		return fmt.Errorf("count the dead letters: %w", err)
	}
	c.overview.DeadLetters = map[string]uint64{}
	for subject, count := range info.State.Subjects {
		c.overview.DeadLetters[strings.TrimPrefix(subject, pipeline.DeadPrefix)] = count
	}
	return nil
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
