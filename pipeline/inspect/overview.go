package inspect

import (
	"cmp"
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
)

// Overview is the status of all of Flowjet, as NATS shows it.
type Overview struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	// Server is the NATS server that answered.
	Server  string         `json:"server"`
	Streams []StreamStatus `json:"streams"`
	Status
	Feeds []FeedStatus `json:"feeds"`
	// Oned counts the reads of oned of all live processes together.
	Oned pipeline.OnedReads `json:"oned"`
	// Disks are the disks of the processes' data folders, by process.
	Disks []DiskStatus `json:"disks"`
	// Services counts services by state; those that have ended are left out.
	Services map[string]int `json:"services"`
	Timers   TimerCount     `json:"timers"`
	Webhooks WebhookCount   `json:"webhooks"`
	// Missing are the missing streams and buckets.
	Missing []string `json:"missing"`
}

// FeedStatus is one feed of hook events.
type FeedStatus struct {
	Feed string `json:"feed"`
	// Holder is the bridge with the lease, Alive whether it sends beats.
	Holder string    `json:"holder"`
	Alive  bool      `json:"alive"`
	Since  time.Time `json:"since"`
	// Disconnected reports whether it lives and is not connected to the hook events.
	Disconnected bool `json:"disconnected,omitempty"`
}

// DiskStatus is the usage of the disk of a process's data folder.
type DiskStatus struct {
	Process string `json:"process"`
	Host    string `json:"host"`
	pipeline.Disk
}

// ReaderStatus is the progress of a reader.
type ReaderStatus struct {
	Reader string `json:"reader"`
	Cursor uint64 `json:"cursor"`
	// Lag is the number of messages behind the cursor, Oldest since when the first of them waits.
	Lag    uint64    `json:"lag"`
	Oldest time.Time `json:"oldest,omitzero"`
}

// TimerCount counts the services' timers.
type TimerCount struct {
	Set     int `json:"set"`
	Overdue int `json:"overdue"`
}

// WebhookCount counts the deliveries that wait for webhooks.
type WebhookCount struct {
	Waiting uint64 `json:"waiting"`
	// Failing is the number of pairs of receiver and service whose last delivery failed.
	Failing int `json:"failing"`
}

// overdueAfter is how late a timer may be before it counts as overdue.
const overdueAfter = 15 * time.Second

// Overview reads everything, within 15 s, which is longer than the streams of a server that was killed are without a leader; it listens for
// a second for live members.
// Missing is the second result of pipeline.Attach. With an error it has what was read before, such as the disks: a full one may be the cause.
func (i *Inspector) Overview(ctx context.Context, missing []string) (overview Overview, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, fmt.Errorf("JetStream does not answer at %s: %w", i.core.Server(), nats.ErrNoResponders))
	defer cancel()
	defer func() {
		if err != nil {
			err = cmp.Or(context.Cause(ctx), err)
		}
	}()
	overview = Overview{Version: pipeline.Version, Time: time.Now().UTC(), Server: i.core.Server(), Missing: list(missing), Disks: []DiskStatus{}}
	c := &collector{Inspector: i, overview: &overview, missing: missing}
	beats, err := c.listen(ctx)
	if err != nil {
		return overview, err
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
			return overview, err
		}
	}
	return overview, nil
}

type collector struct {
	*Inspector
	overview *Overview
	missing  []string
}

// listenFor is longer than the interval of the heartbeats of workers, bridges and processes.
const listenFor = time.Second

// listen finds the live workers and processes and reads their status; it returns the
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
	err = c.hearAll(ctx, observer.processes)
	for _, process := range observer.processes.Live() {
		c.overview.Oned.Reads += process.Reads
		c.overview.Oned.Slow += process.Slow
		if process.Disk != nil && process.Name != "" {
			c.overview.Disks = append(c.overview.Disks, DiskStatus{process.Name, process.Host, *process.Disk})
		}
	}
	slices.SortFunc(c.overview.Disks, func(a, b DiskStatus) int { return strings.Compare(a.Process, b.Process) })
	if err == nil {
		c.overview.Status, err = observer.Status(ctx, c.missing...)
	}
	return feeds.Live(), err
}

// hearAll waits until all have had the time to send a heartbeat, and longer if an expected one is missing.
func (c *collector) hearAll(ctx context.Context, processes *presence.Follower) error {
	asking, cancel := context.WithTimeout(ctx, 5*time.Second) // full disks are heard of without JetStream
	defer cancel()
	expected, _ := presence.Members(asking, c.pipe) // on a bare server there are none
	began := time.Now()
	for pause := listenFor; ; pause = listenFor / 4 {
		if err := idle.For(ctx, pause); err != nil {
			return err
		}
		heard := map[string]bool{}
		for _, process := range processes.Live() {
			heard[process.Name] = true
		}
		silent := slices.ContainsFunc(expected, func(m presence.Member) bool { return m.Missing.IsZero() && !heard[m.Name] })
		if !silent || time.Since(began) > presence.MissingAfter+listenFor/2 {
			return nil
		}
	}
}

func (c *collector) feeds(ctx context.Context, beats map[string]pipeline.FeedBeat) error {
	feeds := map[string]FeedStatus{}
	err := c.core.Stream(pipeline.StreamONE).EachNewest(ctx, pipeline.SubjectsLeases, func(message js.Message) {
		var lease pipeline.Lease
		if json.Unmarshal(message.Data, &lease) != nil || lease.Retired {
			return
		}
		alive := !lease.Released && lease.Token != "" && beats[lease.Feed].Token == lease.Token
		feeds[lease.Feed] = FeedStatus{Feed: lease.Feed, Holder: lease.Holder, Alive: alive, Since: message.Time.UTC(), Disconnected: alive && beats[lease.Feed].Disconnected}
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

// StreamStatus is one stream.
type StreamStatus struct {
	Name     string    `json:"name"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"`
	Replicas int       `json:"replicas"`
	Last     time.Time `json:"last,omitzero"`
	// Trouble is its problem; empty for none.
	Trouble string `json:"trouble,omitempty"`
	// Lost is the number of messages that its server could not read, as far as the server has noticed.
	Lost int `json:"lost,omitempty"`
	// Leaderless reports whether most of its servers are away, Away names those, and Behind the ones that still copy what they lack.
	Leaderless bool     `json:"leaderless,omitempty"`
	Away       []string `json:"away,omitempty"`
	Behind     []string `json:"behind,omitempty"`
}

// ServerStatus is a NATS server that holds copies of streams.
type ServerStatus struct {
	Name string `json:"name"`
	// Away reports whether a stream's leader does not hear from it, Streams counts the streams that do not.
	Away    bool `json:"away"`
	Streams int  `json:"streams,omitempty"`
}

// awayAfter is how long a stream's leader may not have heard from a server that holds a copy: it hears from it once a second. The server itself calls one offline after minutes.
const awayAfter = 5 * time.Second

// mostLag is how many changes of a stream a server may lack: under load some are always on their way to it.
const mostLag = 100

// withServers adds the servers that hold copies of a stream to servers, by name.
func withServers(servers []ServerStatus, cluster *jetstream.ClusterInfo) []ServerStatus {
	if cluster == nil {
		return servers
	}
	for _, peer := range append(cluster.Replicas, &jetstream.PeerInfo{Name: cluster.Leader}) {
		at := slices.IndexFunc(servers, func(s ServerStatus) bool { return s.Name == peer.Name })
		if at < 0 && peer.Name != "" {
			at, servers = len(servers), append(servers, ServerStatus{Name: peer.Name})
		}
		if isAway(peer) {
			servers[at].Away, servers[at].Streams = true, servers[at].Streams+1
		}
	}
	slices.SortFunc(servers, func(a, b ServerStatus) int { return strings.Compare(a.Name, b.Name) })
	return servers
}

func isAway(peer *jetstream.PeerInfo) bool {
	return peer.Name != "" && (peer.Offline || peer.Active > awayAfter)
}

func (c *collector) streams(ctx context.Context) error {
	c.overview.Streams, c.overview.Servers = []StreamStatus{}, []ServerStatus{}
	for _, wanted := range pipeline.Streams(1) {
		if !c.core.Stream(wanted.Name).Bound() {
			continue
		}
		info, err := c.core.Stream(wanted.Name).Info(ctx)
		if err != nil {
			return err
		}
		c.overview.Servers = withServers(c.overview.Servers, info.Cluster)
		status := StreamStatus{
			Name: wanted.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
			Replicas: info.Config.Replicas, Last: info.State.LastTime.UTC(),
		}
		status.judge(info, wanted)
		c.overview.Streams = append(c.overview.Streams, status)
	}
	return nil
}

// judge sets the problem of a stream: it has no leader, copies are away or incomplete, messages are lost, or it is smaller than configured.
func (s *StreamStatus) judge(info *jetstream.StreamInfo, wanted jetstream.StreamConfig) {
	if cluster := info.Cluster; cluster != nil && info.Config.Replicas > 1 {
		for _, peer := range cluster.Replicas {
			if isAway(peer) {
				s.Away = append(s.Away, peer.Name)
			} else if peer.Lag > mostLag {
				s.Behind = append(s.Behind, peer.Name)
			}
		}
		s.Leaderless = cluster.Leader == ""
	}
	if info.State.Lost != nil {
		s.Lost = len(info.State.Lost.Msgs)
	}
	switch has := info.Config; {
	case s.Leaderless:
		s.Trouble = "it has no leader: most of its servers are unreachable"
	case len(s.Away) > 0:
		s.Trouble = "its replica on " + s.Away[0] + " is unreachable"
	case len(s.Behind) > 0:
		s.Trouble = "its replica on " + s.Behind[0] + " is not complete yet"
	case s.Lost > 0:
		s.Trouble = fmt.Sprintf("its files are damaged: %d of its messages are lost", s.Lost)
	case wanted.MaxBytes > 0 && has.MaxBytes > 0 && has.MaxBytes < wanted.MaxBytes:
		s.Trouble = fmt.Sprintf("its limit is %d MiB instead of %d: the disk was too small when it was created; when every server's disk has enough space: `nats stream edit %s --max-bytes %d`",
			has.MaxBytes>>20, wanted.MaxBytes>>20, has.Name, wanted.MaxBytes)
	case wanted.MaxAge > 0 && has.MaxAge > 0 && has.MaxAge < wanted.MaxAge:
		s.Trouble = fmt.Sprintf("its max age is %s instead of %s", has.MaxAge, wanted.MaxAge)
	case has.MaxBytes > 0 && info.State.Bytes > uint64(has.MaxBytes)/10*9 && has.Discard == jetstream.DiscardNew:
		s.Trouble = "it is more than 90 % full and refuses messages when it is full"
	}
}
