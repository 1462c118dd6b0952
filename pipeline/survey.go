package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Survey is how the whole of Flowjet stands, as NATS shows it.
type Survey struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	// Server is the NATS server that was asked.
	Server  string           `json:"server"`
	Streams []StreamStanding `json:"streams"`
	// Workers are those alive, each with what it owns.
	Workers []LiveWorker `json:"workers"`
	// Unowned are the partitions, and the router, that nobody owns.
	Unowned []string       `json:"unowned"`
	Feeds   []FeedStanding `json:"feeds"`
	// Oned is how quickly oned answers all live processes together.
	Oned    OnedReads        `json:"oned"`
	Readers []ReaderStanding `json:"readers"`
	// Services counts services by state; those that have ended are left out.
	Services map[string]int `json:"services"`
	Timers   TimerStanding  `json:"timers"`
	// DeadLetters counts them by who gave them up.
	DeadLetters map[string]uint64 `json:"dead_letters"`
	Webhooks    HookStanding      `json:"webhooks"`
	// Missing are streams and buckets that are not there.
	Missing []string `json:"missing"`
}

// StreamStanding is how one stream stands.
type StreamStanding struct {
	Name     string     `json:"name"`
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	MaxBytes int64      `json:"max_bytes"`
	Replicas int        `json:"replicas"`
	Last     *time.Time `json:"last,omitempty"`
	// Trouble says what is wrong with it; empty for nothing.
	Trouble string `json:"trouble,omitempty"`
}

// OnedReads counts reads of one object at oned in the last minute, and those of them
// that took more than 150 ms instead of some 2.
type OnedReads struct {
	Reads int `json:"reads"`
	Slow  int `json:"slow"`
}

// LiveWorker is one live worker.
type LiveWorker struct {
	Worker string `json:"worker"`
	// Router and Autoscaler say that it shares events out, and that it scales.
	Router     bool `json:"router"`
	Autoscaler bool `json:"autoscaler"`
	// Blind reports whether it cannot reach oned.
	Blind      bool  `json:"blind"`
	Partitions []int `json:"partitions"`
}

// FeedStanding is one feed of hook events.
type FeedStanding struct {
	Feed string `json:"feed"`
	// Holder is the bridge with the lease, Alive whether it says so.
	Holder string    `json:"holder"`
	Alive  bool      `json:"alive"`
	Since  time.Time `json:"since"`
}

// ReaderStanding is how far a reader has come.
type ReaderStanding struct {
	Reader string `json:"reader"`
	Cursor uint64 `json:"cursor"`
	// Lag is how many messages are behind the cursor, Oldest since when the first
	// of them waits.
	Lag    uint64     `json:"lag"`
	Oldest *time.Time `json:"oldest,omitempty"`
}

// TimerStanding counts the services' timers.
type TimerStanding struct {
	Set     int `json:"set"`
	Overdue int `json:"overdue"`
}

// HookStanding counts what waits for webhooks.
type HookStanding struct {
	Waiting uint64 `json:"waiting"`
	// Failing is how many pairs of receiver and service have failed last.
	Failing int `json:"failing"`
}

// overdueAfter is how late a timer may be before it counts as overdue.
const overdueAfter = 15 * time.Second

// TakeSurvey looks at everything; it listens for a second to hear who is alive.
// Missing is what Attach found missing.
func (p *Pipeline) TakeSurvey(ctx context.Context, missing []string) (Survey, error) {
	survey := Survey{Version: Version, Time: time.Now().UTC(), Server: p.server(), Missing: list(missing)}
	alive, err := p.listen(ctx)
	if err != nil {
		return Survey{}, err
	}
	survey.Workers, survey.Unowned = ownership(alive)
	for _, process := range alive.processes {
		survey.Oned.Reads += process.Reads
		survey.Oned.Slow += process.Slow
	}
	steps := []struct {
		needs []string
		look  func(context.Context, *Survey) error
	}{
		{nil, p.surveyStreams},
		{[]string{StreamONE}, func(ctx context.Context, s *Survey) error { return p.surveyFeeds(ctx, s, alive.feeds) }},
		{[]string{StreamONE, StreamWork, StreamFlow, bucketPrefix + BucketCheckpoint}, p.surveyReaders},
		{[]string{bucketPrefix + BucketState}, p.surveyServices},
		{[]string{StreamDead}, p.surveyLetters},
		{[]string{StreamHook, bucketPrefix + BucketHooks}, p.surveyHooks},
	}
	for _, step := range steps {
		if slices.ContainsFunc(step.needs, func(name string) bool { return slices.Contains(missing, name) }) {
			continue
		}
		if err := step.look(ctx, &survey); err != nil {
			return Survey{}, err
		}
	}
	return survey, nil
}

// living are those heard; able are the workers that share the keys.
type living struct {
	workers []WorkerStanding
	able    []string
	feeds   map[string]FeedBeat
	// processes are by id.
	processes map[string]Process
}

// listenFor is longer than workers and bridges are silent.
const listenFor = time.Second

func (p *Pipeline) listen(ctx context.Context) (living, error) {
	observer, err := p.Observe()
	if err != nil {
		return living{}, err
	}
	defer observer.Stop()
	beats := make(chan *nats.Msg, 4096)
	subscription, err := p.conn.ChanSubscribe(SubjectsBridge, beats)
	if err != nil {
		return living{}, fmt.Errorf("listen on %s: %w", SubjectsBridge, err)
	}
	defer subscription.Unsubscribe() //nolint:errcheck // the connection ends soon
	announced := make(chan *nats.Msg, 4096)
	if subscription, err = p.conn.ChanSubscribe(SubjectsProcess, announced); err != nil {
		return living{}, fmt.Errorf("listen on %s: %w", SubjectsProcess, err)
	}
	defer subscription.Unsubscribe() //nolint:errcheck // the connection ends soon
	feeds, processes := map[string]FeedBeat{}, map[string]Process{}
	timer := time.NewTimer(listenFor)
	defer timer.Stop()
	for {
		select {
		case message := <-beats:
			var beat FeedBeat
			if json.Unmarshal(message.Data, &beat) == nil && !beat.Leaving {
				feeds[beat.Feed] = beat
			}
		case message := <-announced:
			var process Process
			if json.Unmarshal(message.Data, &process) == nil && !process.Leaving {
				processes[process.ID] = process
			}
		case <-timer.C:
			workers, able := observer.workers()
			return living{workers, able, feeds, processes}, nil
		case <-ctx.Done():
			return living{}, ctx.Err()
		}
	}
}

func ownership(alive living) (standings []LiveWorker, unowned []string) {
	standings, unowned = []LiveWorker{}, []string{}
	if len(alive.workers) == 0 {
		return standings, Keys()
	}
	for _, worker := range alive.workers {
		standing := LiveWorker{Worker: worker.Name, Blind: worker.Blind, Partitions: []int{}}
		if slices.Contains(alive.able, worker.Name) {
			owned := share(worker.Name, alive.able)
			standing.Router, standing.Autoscaler = owned[RouterKey], owned[AutoscalerKey]
			for partition := range Partitions {
				if owned[PartitionKey(partition)] {
					standing.Partitions = append(standing.Partitions, partition)
				}
			}
		}
		standings = append(standings, standing)
	}
	return standings, unowned
}

func (p *Pipeline) surveyStreams(ctx context.Context, survey *Survey) error {
	survey.Streams = []StreamStanding{}
	for _, wanted := range append(streams(1), buckets(1)...) {
		stream := p.streams[wanted.Name]
		if stream == nil {
			continue
		}
		info, err := p.infoOf(ctx, stream)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", wanted.Name, err)
		}
		standing := StreamStanding{
			Name: wanted.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
			Replicas: info.Config.Replicas, Trouble: troubleOf(info, wanted),
		}
		if !info.State.LastTime.IsZero() && info.State.LastSeq > 0 {
			last := info.State.LastTime.UTC()
			standing.Last = &last
		}
		survey.Streams = append(survey.Streams, standing)
	}
	return nil
}

func (p *Pipeline) infoOf(ctx context.Context, stream jetstream.Stream) (*jetstream.StreamInfo, error) {
	var info *jetstream.StreamInfo
	err := persist(ctx, func(ctx context.Context) (err error) {
		info, err = stream.Info(ctx)
		return err
	})
	return info, err
}

// troubleOf says what is wrong with a stream: without a leader, with copies that
// are away, or smaller than it is meant to be.
func troubleOf(info *jetstream.StreamInfo, wanted jetstream.StreamConfig) string {
	if cluster := info.Cluster; cluster != nil && info.Config.Replicas > 1 {
		if cluster.Leader == "" {
			return "it has no leader: most of its servers are away"
		}
		for _, peer := range cluster.Replicas {
			if peer.Offline {
				return "its copy on " + peer.Name + " is away"
			}
		}
	}
	has := info.Config
	switch {
	case wanted.MaxBytes > 0 && has.MaxBytes > 0 && has.MaxBytes < wanted.MaxBytes:
		return fmt.Sprintf("it keeps %d MiB where %d are meant: the disk had no room when it was made; `nats stream edit %s --max-bytes %d` gives it more once every server's disk has the room",
			has.MaxBytes>>20, wanted.MaxBytes>>20, has.Name, wanted.MaxBytes)
	case wanted.MaxAge > 0 && has.MaxAge > 0 && has.MaxAge < wanted.MaxAge:
		return fmt.Sprintf("it keeps %s where %s are meant", has.MaxAge, wanted.MaxAge)
	case has.MaxBytes > 0 && info.State.Bytes > uint64(has.MaxBytes)/10*9 && has.Discard == jetstream.DiscardNew:
		return "it is full to nine tenths, and refuses more when it is full"
	}
	return ""
}

func (p *Pipeline) surveyFeeds(ctx context.Context, survey *Survey, alive map[string]FeedBeat) error {
	survey.Feeds = []FeedStanding{}
	r := p.newReader(StreamONE, "one.lease.*", 0)
	r.deliver = jetstream.DeliverLastPerSubjectPolicy
	defer r.Stop()
	return r.drain(ctx, func(message jetstream.Msg, metadata *jetstream.MsgMetadata) {
		var lease Lease
		if json.Unmarshal(message.Data(), &lease) != nil {
			return
		}
		beat, beats := alive[lease.Feed]
		survey.Feeds = append(survey.Feeds, FeedStanding{
			Feed: lease.Feed, Holder: lease.Holder, Alive: beats && !lease.Released && beat.Token == lease.Token, Since: metadata.Timestamp.UTC(),
		})
	})
}

func (p *Pipeline) surveyReaders(ctx context.Context, survey *Survey) error {
	survey.Readers = []ReaderStanding{}
	readers := []struct{ name, stream, filter string }{
		{RouterKey, StreamONE, SubjectsEvents}, {WebhooksCursor, StreamFlow, SubjectsFlow},
	}
	for partition := range Partitions {
		readers = append(readers, struct{ name, stream, filter string }{PartitionKey(partition), StreamWork, PartitionSubjects(partition)})
	}
	for _, one := range readers {
		cursor, err := p.LoadCursor(ctx, one.name)
		if err != nil {
			return err
		}
		if one.name == WebhooksCursor && cursor == 0 {
			continue // there are no webhooks
		}
		standing := ReaderStanding{Reader: one.name, Cursor: cursor}
		if standing.Lag, standing.Oldest, err = p.behind(ctx, one.stream, one.filter, cursor); err != nil {
			return fmt.Errorf("see how far %s is: %w", one.name, err)
		}
		survey.Readers = append(survey.Readers, standing)
	}
	return nil
}

// behind is how many messages there are behind a sequence, and how old the first is.
func (p *Pipeline) behind(ctx context.Context, stream, filter string, sequence uint64) (uint64, *time.Time, error) {
	r := p.newReader(stream, filter, sequence)
	defer r.Stop()
	if err := r.open(ctx); err != nil || r.pending == 0 {
		return 0, nil, err
	}
	lag := r.pending
	_, metadata, err := r.take(ctx)
	if err != nil {
		return 0, nil, err
	}
	oldest := metadata.Timestamp.UTC()
	return lag, &oldest, nil
}

func (p *Pipeline) surveyServices(ctx context.Context, survey *Survey) error {
	survey.Services = map[string]int{}
	return p.EachRecord(ctx, func(_ int, record Record) {
		if record.Deleted {
			return
		}
		survey.Services[record.State.Service.State().String()]++
		for _, timer := range record.Timers {
			survey.Timers.Set++
			if survey.Time.Sub(timer.Due) > overdueAfter {
				survey.Timers.Overdue++
			}
		}
	})
}

func (p *Pipeline) surveyLetters(ctx context.Context, survey *Survey) error {
	survey.DeadLetters = map[string]uint64{}
	err := persist(ctx, func(ctx context.Context) error {
		info, err := p.streams[StreamDead].Info(ctx, jetstream.WithSubjectFilter(SubjectsDead))
		if err != nil {
			return err
		}
		for subject, count := range info.State.Subjects {
			survey.DeadLetters[strings.TrimPrefix(subject, letterPrefix)] = count
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count the dead letters: %w", err)
	}
	return nil
}

func (p *Pipeline) surveyHooks(ctx context.Context, survey *Survey) error {
	waiting, err := p.PendingDeliveries(ctx)
	if err != nil {
		return err
	}
	survey.Webhooks.Waiting = waiting
	failing, err := p.FailingHooks(ctx)
	survey.Webhooks.Failing = len(failing)
	return err
}

// FailingHooks are the attempts to deliver that have failed last, by
// "<receiver>.<service>".
func (p *Pipeline) FailingHooks(ctx context.Context) (map[string]Attempts, error) {
	failing := map[string]Attempts{}
	err := eachValue(ctx, p.hooks, func(entry jetstream.KeyValueEntry) {
		var attempts Attempts
		if json.Unmarshal(entry.Value(), &attempts) == nil {
			failing[entry.Key()] = attempts
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read which webhooks fail: %w", err)
	}
	return failing, nil
}
