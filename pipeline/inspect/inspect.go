// Package inspect reads the status of all of Flowjet from NATS. It changes
// nothing, and works without any worker, bridge, API or oned.
package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Inspector reads the status of Flowjet.
type Inspector struct {
	pipe        *pipeline.Pipeline
	core        *js.Client
	records     *work.Records
	history     *history.History
	deadLetters *deadletters.Store
	deliveries  *deliveries.Deliveries
}

// New returns an inspector of a pipeline.
func New(p *pipeline.Pipeline) *Inspector {
	return &Inspector{p, p.Client, work.NewRecords(p), history.New(p), deadletters.New(p), deliveries.New(p)}
}

// Observe begins to follow the workers and processes; all of them are known after a
// heartbeat's time. Stop ends it.
func (i *Inspector) Observe() (*Observer, error) {
	observer, err := work.Observe(i.pipe)
	if err != nil {
		return nil, err
	}
	processes, err := presence.Follow(i.pipe)
	if err != nil {
		observer.Stop()
		return nil, err
	}
	return &Observer{Observer: observer, inspector: i, processes: processes}, nil
}

// ServerTime returns the clock of the NATS server that answers.
func (i *Inspector) ServerTime(ctx context.Context) (time.Time, error) {
	info, err := i.core.Stream(pipeline.StreamWork).Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask NATS for its time: %w", err)
	}
	return info.TimeStamp, nil
}

// Storage returns how many bytes of JetStream's storage are used, and how many there
// may be; 0 or less for no limit.
func (i *Inspector) Storage(ctx context.Context) (used uint64, most int64, err error) {
	info, err := i.pipe.JetStream().AccountInfo(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask NATS for the account's storage: %w", err)
	}
	return info.Store, info.Limits.MaxStore, nil
}

// list returns a copy that is never null in JSON.
func list[T any](items []T) []T { return append([]T{}, items...) }

// stuckAfter is how long a service may be in a transient state.
const stuckAfter = 30 * time.Minute

// Stuck reports whether a service has been in a transient state for too long.
func Stuck(service spec.Service, now time.Time) bool {
	state, since := service.State(), spec.Since(service)
	return state.Waiting() && state != spec.ServiceCooldown && !since.IsZero() && now.Sub(since) > stuckAfter
}

// ServiceCounts counts the services that have not ended.
type ServiceCounts struct {
	// States has every known state, with 0 if no service is in it, and no other: a
	// document's state may be any number.
	States map[spec.ServiceState]int
	// Stuck is the number of services for which Stuck is true.
	Stuck int
}

// CountServices reads the records of all services.
func CountServices(ctx context.Context, p *pipeline.Pipeline) (ServiceCounts, error) {
	counts := ServiceCounts{States: map[spec.ServiceState]int{}}
	for _, state := range spec.ServiceStates() {
		counts.States[state] = 0
	}
	now := time.Now()
	err := work.NewRecords(p).EachRecord(ctx, func(_ int, record pipeline.Record) {
		if record.Deleted {
			return
		}
		state := record.State.Service.State()
		if _, known := counts.States[state]; known {
			counts.States[state]++
		}
		if Stuck(record.State.Service, now) {
			counts.Stuck++
		}
	})
	return counts, err
}

// Entry is a stored message: exactly one of the four is set.
type Entry struct {
	Time       time.Time
	Transition *pipeline.Transition
	Event      *pipeline.Event
	Delivery   *pipeline.Delivery
	DeadLetter *pipeline.DeadLetter
}

// Service returns the service of the entry, -1 for none.
func (e Entry) Service() int {
	switch {
	case e.Transition != nil:
		return e.Transition.Service
	case e.Event != nil && e.Event.VM != nil:
		return e.Event.VM.Service
	case e.Delivery != nil:
		return e.Delivery.Service
	case e.DeadLetter != nil:
		return e.DeadLetter.Service()
	}
	return -1
}

// tails are the streams that can be followed.
var tails = map[string]struct {
	filter string
	read   func(js.Message) (Entry, error)
}{
	pipeline.StreamFlow: {pipeline.SubjectsFlow, func(message js.Message) (Entry, error) {
		transition, err := pipeline.ReadTransition(message)
		return Entry{Time: transition.Time, Transition: &transition}, err
	}},
	pipeline.StreamONE: {pipeline.SubjectsEvents, func(message js.Message) (Entry, error) {
		event, err := pipeline.DecodeEvent(message.Data)
		return Entry{Time: message.Time, Event: &event}, err
	}},
	pipeline.StreamHook: {pipeline.SubjectsHook, func(message js.Message) (Entry, error) {
		var delivery pipeline.Delivery
		err := json.Unmarshal(message.Data, &delivery)
		if err == nil && delivery.Version > pipeline.Version {
			err = errors.New("it was written by a newer Flowjet")
		}
		return Entry{Time: message.Time, Delivery: &delivery}, err
	}},
	pipeline.StreamDead: {pipeline.SubjectsDead, func(message js.Message) (Entry, error) {
		deadLetter := pipeline.ReadDeadLetter(message)
		return Entry{Time: message.Time, DeadLetter: &deadLetter}, nil
	}},
}

// Ends returns the sequences of the last messages of streams: messages behind them are new.
func (i *Inspector) Ends(ctx context.Context, streams []string) (map[string]uint64, error) {
	ends := map[string]uint64{}
	for _, name := range streams {
		end, err := i.core.Stream(name).End(ctx)
		if err != nil {
			return nil, err
		}
		ends[name] = end
	}
	return ends, nil
}

// Tail visits the messages of a stream (StreamFlow, StreamONE, StreamHook or StreamDead) behind a sequence, oldest first, and if it
// follows the stream then each new one, until ctx ends, whose error it returns. Messages that cannot be parsed are left out.
func (i *Inspector) Tail(ctx context.Context, stream string, after uint64, follow bool, visit func(Entry)) error {
	tail, read := tails[stream], i.core.Stream(stream).Each
	if follow {
		read = i.core.Stream(stream).Follow
	}
	return read(ctx, tail.filter, after, func(message js.Message) {
		if entry, err := tail.read(message); err == nil {
			visit(entry)
		}
	})
}

// RecentEvents summarizes the last events of the feeds.
type RecentEvents struct {
	// Last is when the newest event was stored.
	Last time.Time
	// Count is how many events were read, Resynced how many of them were
	// found by comparing with oned because ZeroMQ had lost them.
	Count, Resynced int
	LastResynced    time.Time
}

// RecentEvents reads the last events, among at most so many messages.
func (i *Inspector) RecentEvents(ctx context.Context, most uint64) (recent RecentEvents, err error) {
	end, err := i.core.Stream(pipeline.StreamONE).End(ctx)
	if err != nil {
		return RecentEvents{}, err
	}
	begin := end - min(end, most)
	initial := begin == 0 // the comparison that fills a new stream: nothing was lost
	err = i.core.Stream(pipeline.StreamONE).Each(ctx, pipeline.SubjectsEvents, begin, func(message js.Message) {
		recent.Count++
		recent.Last = message.Time
		resync := message.Header.Get(pipeline.HeaderResync) != ""
		if initial = initial && resync; resync && !initial {
			recent.Resynced++
			recent.LastResynced = message.Time
		}
	})
	errs.Wrap(&err, "read the last events")
	return recent, err
}

// Damage is what BucketState and StreamFlow lack of each other. NATS drops the messages that it cannot read, and what is left looks whole.
type Damage struct {
	// Records are the services that have not ended according to their history and that have no record.
	Records []int
	// Histories are the services whose history ends before what they have published.
	Histories []int
}

// Damage compares the records with the history. A service that changes meanwhile may be in it.
func (i *Inspector) Damage(ctx context.Context) (Damage, error) {
	history := i.core.Stream(pipeline.StreamFlow)
	info, err := history.Led(ctx)
	if err != nil {
		return Damage{}, err
	}
	last := map[int]string{} // each service's last state in the history
	err = history.EachNewest(ctx, pipeline.SubjectsFlowStates, func(message js.Message) {
		if transition, err := pipeline.ReadTransition(message); err == nil {
			last[transition.Service] = transition.New
		}
	})
	if err != nil {
		return Damage{}, fmt.Errorf("read the services' last transitions: %w", err)
	}
	var damage Damage
	differ := map[int]pipeline.Record{} // services whose history ends with another state
	unreadable, err := i.records.CheckRecords(ctx, func(service int, record pipeline.Record) {
		state, has := last[service]
		since := spec.Since(record.State.Service)
		// What a service publishes first is number 1: one that was taken over from OneFlow has published nothing yet.
		emptied := info.State.Msgs == 0 && record.Outbox.First > 1 && !since.IsZero() && time.Since(since) < info.Config.MaxAge
		switch {
		case record.Deleted:
		case emptied:
			damage.Histories = append(damage.Histories, service)
		case has && state != record.State.Service.State().String():
			differ[service] = record
		}
		delete(last, service)
	})
	maps.DeleteFunc(last, func(service int, state string) bool {
		return state == pipeline.Deleted || slices.Contains(unreadable, service)
	})
	damage.Records = slices.Sorted(maps.Keys(last))
	for service, record := range differ {
		// OneFlow, or a restored database, may have set the state: then all that the service has published is there.
		number, failed := i.history.LastTransition(ctx, service)
		if err = cmp.Or(err, failed); number+1 < record.Outbox.First {
			damage.Histories = append(damage.Histories, service)
		}
	}
	slices.Sort(damage.Histories)
	return damage, err
}
