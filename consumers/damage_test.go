package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// cutOff damages a stream: its blocks are cut to nothing, at the start of a server that
// was down, so that it ends before what has been read of it.
func (w *world) cutOff(stream string, truncate bool) {
	w.t.Helper()
	w.nats.Stop()
	blocks, err := filepath.Glob(filepath.Join(w.nats.StoreDir(), "jetstream", "*", "streams", stream, "msgs", "*"))
	must(w.t, err)
	if len(blocks) == 0 {
		w.t.Fatalf("stream %s has no blocks", stream)
	}
	for _, block := range blocks {
		if !truncate || !strings.HasSuffix(block, ".blk") {
			must(w.t, os.Remove(block))
			continue
		}
		info, err := os.Stat(block)
		must(w.t, err)
		must(w.t, os.Truncate(block, info.Size()/3))
	}
	w.nats.Start()
	poll.Until(w.t, "NATS to be back", func() bool { return w.pipe.State().Connected })
}

// A stream that was cut off is found, at the start and while workers run, and commands that
// come afterwards are carried out.
func TestADamagedStreamIsRepaired(t *testing.T) {
	for name, test := range map[string]struct {
		stream             string
		running, truncated bool
	}{
		"work, at the start":             {pipeline.StreamWork, false, false},
		"work, while workers run":        {pipeline.StreamWork, true, true},
		"all of work, while workers run": {pipeline.StreamWork, true, false},
		"events, while workers run":      {pipeline.StreamONE, true, true},
		"all events, at the start":       {pipeline.StreamONE, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.startWorker("first", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 1)
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			w.settled()
			if !test.running {
				stop()
			}
			w.cutOff(test.stream, test.truncated)
			if !test.running {
				w.startWorker("second", quick())
			}
			told := func() {
				poll.Until(t, "operators to be told", func() bool {
					found, _, err := w.pipe.LastMismatch(t.Context())
					return err == nil && strings.HasPrefix(found.Reason, "stream "+test.stream+" was damaged")
				})
			}
			if test.stream == pipeline.StreamONE {
				told() // before what follows makes so many events that the stream is as long as it was
			}
			w.scaledTo(service, 3)
			w.scaledTo(service, 1)
			w.exactly(service, 2)
			other := w.deployed(masterSlave, 1, 1)
			w.exactly(other, 2)
			told()
		})
	}
}

// Streams and buckets that are deleted, or purged, while workers run are made again, commands and events that come afterwards are handled, and operators are
// told.
func TestStreamsThatAreLost(t *testing.T) {
	unread := []string{pipeline.StreamHook, pipeline.StreamDead, pipeline.StreamOf(pipeline.BucketHooks)} // they are empty here
	for _, stream := range pipeline.Streams(1) {
		t.Run(stream.Name+" deleted", func(t *testing.T) {
			t.Parallel()
			loses(t, stream.Name, func(w *world) { must(t, w.pipe.JetStream().DeleteStream(t.Context(), stream.Name)) })
		})
		if slices.Contains(unread, stream.Name) {
			continue
		}
		t.Run(stream.Name+" purged", func(t *testing.T) {
			t.Parallel()
			loses(t, stream.Name, func(w *world) { must(t, w.pipe.Stream(stream.Name).Purge(t.Context())) })
		})
	}
}

func loses(t *testing.T, stream string, lose func(*world)) {
	t.Helper()
	w := newWorld(t)
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	w.scaledTo(service, 2)
	w.settled()
	stop()
	w.knowsEnds(stream)
	lose(w)
	w.told(stream)
	w.scaledTo(service, 3)
	w.scaledTo(service, 1)
	w.exactly(service, 2)
	other := w.deployed(masterSlave, 1, 1)
	w.exactly(other, 2)
}

// knowsEnds starts a worker again, and waits until it knows how far a stream goes: so it notices a purge.
func (w *world) knowsEnds(stream string) (stop func()) {
	w.t.Helper()
	ends, _, err := w.pipe.Extents(w.t.Context())
	must(w.t, err)
	stop = w.startWorker("second", quick())
	poll.Until(w.t, "the worker to know how far the streams go", func() bool {
		extents, _, err := pipeline.ExtentsNote.Load(w.t.Context(), w.pipe.Pipeline)
		return err == nil && extents[stream].Last >= ends[stream].Last
	})
	return stop
}

// Commands that no worker has read when work is lost end with the reason: else they would count as queued for a day.
func TestCommandsThatAreLostWithWork(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	w.settled()
	stop()
	w.knowsEnds(pipeline.StreamWork)()
	made := w.service(masterSlave, 1, 1) // it needs no command to be deployed
	commands := map[string]string{"scale": pipeline.CommandRefused, "deploy": pipeline.CommandDone, "nobody": pipeline.CommandRefused}
	for id := range commands {
		queued := flow.Command{ID: id, Verb: flow.VerbScale, Service: service}
		switch id {
		case "deploy":
			queued.Verb, queued.Service = flow.VerbDeploy, made
		case "nobody":
			queued.Service = 7777
		}
		if _, err := w.pipe.SubmitCommand(t.Context(), queued, time.Millisecond); !errors.Is(err, pipeline.ErrNoReply) {
			t.Fatal(err)
		}
	}
	must(t, w.pipe.Stream(pipeline.StreamWork).Purge(t.Context()))
	w.startWorker("third", quick())
	for id, want := range commands {
		poll.Until(t, "command "+id+" to end", func() bool {
			status, err := w.pipe.CommandStatus(t.Context(), id)
			must(t, err)
			return status.State == want && strings.Contains(status.Message, "NATS has lost the command") == (want == pipeline.CommandRefused)
		})
	}
	w.await(made, spec.ServiceRunning)
}

// A command that was ended as lost, and whose message was only on its way, stays refused: its client may have sent it again.
func TestACommandThatCountedAsLost(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	w.settled()
	stop()
	arguments, err := json.Marshal(flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	must(t, err)
	late := flow.Command{ID: "late", Verb: flow.VerbScale, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: arguments}
	if _, err := w.pipe.SubmitCommand(ctx, late, time.Millisecond); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatal(err)
	}
	must(t, w.pipe.Stream(pipeline.StreamWork).Purge(ctx, jetstream.WithPurgeSubject(pipeline.StoredWorkSubject(service))))
	for _, work := range []pipeline.Work{{Service: service, Lost: true, Waiting: []string{"late"}}, {Service: service, Command: &late}} {
		_, err := w.pipe.PublishWork(ctx, work, nuid.Next())
		must(t, err)
	}
	w.startWorker("second", quick())
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.scaledTo(service, 2)
	if status, err := w.pipe.CommandStatus(ctx, "late"); err != nil || status.State != pipeline.CommandRefused {
		t.Errorf("it is %+v (%v)", status, err)
	}
}

// Timers that are lost with work are set again at once, and not when they are overdue.
func TestTimersThatAreLostWithWork(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"cooldown":3600,"state":0}]}`)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 2})
	w.await(service, spec.ServiceCooldown)
	w.settled()
	stop()
	timer := func() uint64 {
		sequence, _, err := w.pipe.Stream(pipeline.StreamWork).LastOf(t.Context(), pipeline.TimerSubject(service, flow.DeadlineCooldown))
		must(t, err)
		return sequence
	}
	before := timer()
	w.knowsEnds(pipeline.StreamWork)
	if reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "b"}); reply.Refused == "" { // which loads the service
		t.Error("a role that does not exist was scaled")
	}
	poll.Until(t, "the cooldown's timer to be set by the second worker", func() bool { return timer() > before })
	must(t, w.pipe.Stream(pipeline.StreamWork).Purge(t.Context()))
	poll.Until(t, "the timer again", func() bool { return timer() > 0 })
}

// told waits until operators are told that a stream has lost messages.
func (w *world) told(stream string) {
	w.t.Helper()
	poll.Until(w.t, "operators to be told", func() bool { return w.isTold(stream) })
}

func (w *world) isTold(stream string) bool {
	found, _, err := w.pipe.LastMismatch(w.t.Context())
	return err == nil && strings.HasSuffix(found.Reason, "NATS has lost streams or messages of them: "+stream)
}

// A bucket that has lost its end, or was lost, while everything was stopped is noticed: its services go on, and operators are told.
func TestABucketThatWasDamagedWhileStopped(t *testing.T) {
	for _, bucket := range []string{pipeline.BucketState, pipeline.BucketCommands} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.hear()
			stop := w.startWorker("first", quick())
			service := w.deployed(masterSlave, 1, 1)
			w.settled()
			stop()
			stop = w.startWorker("second", quick())
			poll.Until(t, "it to be stored how far the streams go", func() bool {
				extents, _, err := pipeline.ExtentsNote.Load(t.Context(), w.pipe.Pipeline)
				return err == nil && extents[pipeline.StreamOf(bucket)].Last > 0
			})
			stop()
			w.cutOff(pipeline.StreamOf(bucket), false)
			w.startWorker("third", quick())
			w.told(pipeline.StreamOf(bucket))
			w.scaledTo(service, 2)
			w.exactly(service, 3)
		})
	}
}

// A stream of work that is lost with the cursors in it, while everything was stopped, is numbered behind the records, which pass over lower numbers, and
// operators are told.
func TestWorkThatIsLostWithItsCursors(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	for range 1000 { // more than the new stream has before the command
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: 4000, Reason: "test"}, "")
		must(t, err)
	}
	w.scaledTo(service, 2)
	stop()
	for _, stream := range []string{pipeline.StreamWork, pipeline.StreamOf(pipeline.BucketCheckpoint)} {
		must(t, w.pipe.JetStream().DeleteStream(t.Context(), stream))
	}
	again, err := pipeline.Open(t.Context(), pipeline.Config{URL: w.nats.URL()})
	must(t, err)
	again.Close()
	w.told(pipeline.StreamOf(pipeline.BucketCheckpoint))
	w.startWorker("second", quick())
	w.scaledTo(service, 1)
	w.exactly(service, 2)
}

// A service that rests has a record again soon after it was lost, though no event comes, with the VMs that it had: also where a worker has it in
// memory.
func TestARecordThatIsLost(t *testing.T) {
	w := newWorld(t)
	w.hear()
	settings := patient()
	w.start(consumers.Config{ID: "one", Settings: settings, ScanInterval: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	services := []int{w.deployed(masterSlave, 1, 1), w.deployed(masterSlave, 1, 1)}
	w.settled()
	stream, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamOf(pipeline.BucketState))
	must(t, err)
	must(t, stream.Purge(t.Context()))
	for _, service := range services {
		poll.Until(t, "a record", func() bool {
			record, revision, err := w.pipe.LoadRecord(t.Context(), service)
			return err == nil && revision > 0 && record.State.Service.State() == spec.ServiceRunning
		})
		w.exactly(service, 2)
	}
	w.scaledTo(services[0], 2)
	w.exactly(services[0], 3)
}

// Events that come before it is found that their stream was cut off are passed over by its
// reader; services that run look at oned all the same.
func TestEventsBehindADamage(t *testing.T) {
	w := newWorld(t)
	w.hearing = true
	w.startWorker("one", patient())
	stop := w.hear()
	service := w.deployed(masterSlave, 2, 2)
	vms := w.ids(service)
	w.allRouted()
	stop()
	w.cutOff(pipeline.StreamONE, false)
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff-hard", vms[0]))
	poll.Until(t, "the VM to be off", func() bool { return w.vm(vms[0]).State == one.VMPoweroff })
	w.hear() // from number 1 on
	w.await(service, spec.ServiceWarning)
}

// TestAStreamOfEventsThatIsAsLongAgain: nothing but the events themselves shows that it has lost its end, and grown again before anybody looked.
func TestAStreamOfEventsThatIsAsLongAgain(t *testing.T) {
	w := newWorld(t)
	w.hearing = true
	worker := consumers.New(consumers.Config{
		ConfirmDamage: time.Hour, Hearing: func() bool { return w.hearing }, ID: "one", Settings: patient(), Logger: slog.New(slog.DiscardHandler),
	}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	stop := w.hear()
	service := w.deployed(masterSlave, 2, 2)
	vms := w.ids(service)
	w.allRouted()
	stop()
	w.asLongAgain(vms[0])
	w.await(service, spec.ServiceWarning)
	found, _, err := w.pipe.LastMismatch(t.Context())
	if err != nil || !strings.HasPrefix(found.Reason, "stream ONE was damaged") {
		t.Errorf("operators are told %q: %v", found.Reason, err)
	}
}

// TestAStreamOfEventsThatIsAsLongAgainAtTheStart: the worker did not run meanwhile, or was restarted with NATS. What an older worker has
// saved, the cursor alone, is read as before, and what was told once is not told again.
func TestAStreamOfEventsThatIsAsLongAgainAtTheStart(t *testing.T) {
	w := newWorld(t)
	w.hearing = true
	start := func() (stop func()) {
		worker := consumers.New(consumers.Config{
			ConfirmDamage: time.Hour, Hearing: func() bool { return w.hearing }, ID: "one", Settings: patient(), Logger: slog.New(slog.DiscardHandler),
		}, w.pipe.Pipeline, w.oned)
		must(t, worker.Start(t.Context()))
		return func() { must(t, worker.Stop(context.Background())) }
	}
	stopWorker, stop := start(), w.hear()
	service := w.deployed(masterSlave, 2, 2)
	vms := w.ids(service)
	w.allRouted()
	stop()
	stopWorker()
	found, told, err := w.pipe.LastMismatch(t.Context())
	if err != nil || told {
		t.Errorf("operators are told %q: %v", found.Reason, err)
	}
	w.asLongAgain(vms[0])
	stopWorker = start()
	w.await(service, spec.ServiceWarning)
	found, told, err = w.pipe.LastMismatch(t.Context())
	if err != nil || !told || !strings.HasPrefix(found.Reason, "stream ONE was damaged") {
		t.Errorf("operators are told %q: %v", found.Reason, err)
	}
	w.allRouted()
	stopWorker()
	t.Cleanup(start())
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	if again, _, err := w.pipe.LastMismatch(t.Context()); err != nil || !again.Found.Equal(found.Found) {
		t.Errorf("operators are told again: %q, %v", again.Reason, err)
	}
}

// asLongAgain has the stream of events lose its end, with the VM's power-off, and grow again beyond where it ended.
func (w *world) asLongAgain(vm int) {
	w.t.Helper()
	before, err := w.pipe.EndOfEvents(w.t.Context())
	must(w.t, err)
	w.cutOff(pipeline.StreamONE, false)
	must(w.t, w.oned.For("alice").ActOnVM(w.t.Context(), "poweroff-hard", vm))
	poll.Until(w.t, "the VM to be off", func() bool { return w.vm(vm).State == one.VMPoweroff })
	w.hear() // from number 1 on
	poll.Until(w.t, "the stream to be as long again", func() bool {
		_, err := w.pipe.JetStream().Publish(w.t.Context(), pipeline.VMSubject(0, 9999, "PENDING", "LCM_INIT"), []byte(`{"v":3,"object":"vm","id":9999}`))
		must(w.t, err)
		last, err := w.pipe.EndOfEvents(w.t.Context())
		must(w.t, err)
		return last > before
	})
}

// allRouted waits until all events have been routed and that is stored.
func (w *world) allRouted() {
	w.t.Helper()
	poll.Until(w.t, "the events to be routed", func() bool {
		at, err := w.pipe.LoadCursor(w.t.Context(), pipeline.RouterKey)
		must(w.t, err)
		end, err := w.pipe.EndOfEvents(w.t.Context())
		must(w.t, err)
		return at > 1 && at == end
	})
}

// settled waits until the cursors have come to the streams' ends.
func (w *world) settled() {
	w.t.Helper()
	js, err := jetstream.New(w.pipe.Conn())
	must(w.t, err)
	poll.Until(w.t, "the cursors to be saved", func() bool {
		bucket, err := js.KeyValue(w.t.Context(), pipeline.BucketCheckpoint)
		must(w.t, err)
		keys, err := bucket.Keys(w.t.Context())
		return err == nil && len(keys) > 1
	})
}

// scaledTo scales the Slaves by a command whose answer may come late.
func (w *world) scaledTo(service, slaves int) {
	w.t.Helper()
	poll.Until(w.t, "the service to be scaled", func() bool {
		body, _ := w.body(service)
		for _, role := range body.Roles {
			if role.Name == "Slave" && len(role.Nodes) == slaves && (spec.Service{Body: body}).State() == spec.ServiceRunning {
				return true
			}
		}
		arguments, err := json.Marshal(flow.ScaleArguments{Role: "Slave", Cardinality: slaves})
		must(w.t, err)
		_, _ = w.pipe.SubmitCommand(w.t.Context(), flow.Command{
			ID: nuid.Next(), Verb: flow.VerbScale, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: arguments,
		}, time.Second) // one that comes before the repair is answered late
		return false
	})
}
