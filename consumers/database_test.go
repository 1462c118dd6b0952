package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// mismatch waits until it is said that data and oned do not belong together.
func (w *world) mismatch(reason string) {
	w.t.Helper()
	poll.Until(w.t, "it to be said that data and oned do not belong together", func() bool {
		found, has, err := w.pipe.LastMismatch(w.t.Context())
		return err == nil && has && strings.Contains(found.Reason, reason)
	})
}

// marked waits until the newest VM is what oned's database is recognised by.
func (w *world) marked() {
	w.t.Helper()
	newest := 0
	for _, vm := range w.sim.VMs() {
		newest = max(newest, vm.ID)
	}
	poll.Until(w.t, "the newest VM to be marked", func() bool {
		mark, _, err := pipeline.OnedNote.Load(w.t.Context(), w.pipe.Pipeline)
		return err == nil && mark.VM == newest
	})
}

// atRest does something while oned is stopped.
func (w *world) atRest(do func()) {
	w.t.Helper()
	must(w.t, w.sim.Stop(context.Background()))
	do()
	w.oned.Ping(w.t.Context()) // who calls finds that no oned runs
	must(w.t, w.sim.Start(w.t.Context()))
}

// backup returns oned's database as its file has it, and restore puts it back; oned does not run meanwhile.
func (w *world) backup(file string) (backup []byte) {
	w.t.Helper()
	w.atRest(func() {
		var err error
		backup, err = os.ReadFile(file)
		must(w.t, err)
	})
	return backup
}

func (w *world) restore(file string, backup []byte) {
	w.t.Helper()
	w.atRest(func() { must(w.t, os.WriteFile(file, backup, 0o600)) })
}

// oned's database is restored from a backup, while workers run or while none does: services
// are as the backup has them, ids that are used again make no difference, and no VM ends.
func TestOnedIsRestored(t *testing.T) {
	for name, running := range map[string]bool{"while a worker runs": true, "before a worker starts": false} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "zone.db")
			w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, StateFile: file})
			stop := w.startWorker("first", quick())
			w.hear()
			scaled, ending := w.deployed(masterSlave, 1, 1), w.deployed(masterSlave, 1, 1)
			backup := w.backup(file)
			w.accepted(scaled, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
			w.await(scaled, spec.ServiceRunning)
			lost := w.deployed(masterSlave, 2, 1)
			w.sim.SetBootDelay(time.Hour)
			w.accepted(ending, flow.VerbUndeploy, nil)
			poll.Until(t, "a VM to be on its way out", func() bool {
				for _, vm := range w.vms(ending) {
					if vm.Ending() {
						return true
					}
				}
				return false
			})
			w.sim.SetBootDelay(time.Millisecond)
			if !running {
				w.marked()
				stop()
			}
			w.restore(file, backup)
			if !running {
				w.startWorker("second", quick())
			}
			w.mismatch("restored from a backup")
			again := w.service(masterSlave, 1, 2)
			if again != lost {
				t.Fatalf("the new service has the id %d, not %d", again, lost)
			}
			w.accepted(again, flow.VerbDeploy, nil)
			w.await(again, spec.ServiceRunning)
			w.exactly(again, 3)
			for _, service := range []int{scaled, ending} {
				w.await(service, spec.ServiceRunning)
				w.exactly(service, 2)
				w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
				w.await(service, spec.ServiceRunning)
				w.exactly(service, 3)
			}
			for _, vm := range w.sim.VMs() {
				if vm.State == one.VMDone {
					t.Errorf("VM %d of service %s was ended", vm.ID, vm.Service)
				}
			}
			w.accepted(again, flow.VerbUndeploy, nil)
			w.gone(again)
		})
	}
}

// A restore is dated by NATS's clock, as the records and commands with which its time is compared: the clock of the worker that finds it may be
// wrong. A worker that hears of it from another loads its services again once, whichever clock is ahead.
func TestARestoreIsDatedByNATS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.db")
	w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, StateFile: file})
	w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 2)
	backup := w.backup(file)
	w.deployed(masterSlave, 1, 1)
	w.marked()
	w.restore(file, backup)
	w.mismatch("restored from a backup")
	poll.Until(t, "the restore to be dated by NATS", func() bool {
		_, _, stored, err := w.pipe.Bucket(pipeline.BucketCheckpoint).GetDated(t.Context(), "mismatch")
		must(t, err)
		mark, _, err := pipeline.OnedNote.Load(t.Context(), w.pipe.Pipeline)
		must(t, err)
		return mark.Restored.Equal(stored)
	})
	w.await(service, spec.ServiceRunning)
	w.scaledTo(service, 1)
	w.exactly(service, 2)
}

// A command that waited is refused after oned was restored, although the service is as the backup has it.
func TestACommandThatWaitedForARestoredOnedIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.db")
	w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, StateFile: file})
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 2)
	backup := w.backup(file)
	w.deployed(masterSlave, 1, 1)
	w.marked()
	stop()
	w.later(service, 1)
	w.restore(file, backup)
	w.startWorker("second", quick())
	w.mismatch("restored from a backup")
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
	for _, vm := range w.sim.VMs() {
		if vm.State == one.VMDone {
			t.Errorf("VM %d of service %s was ended", vm.ID, vm.Service)
		}
	}
}

// The id of a service that a restored oned does not know is used again, after its end was noted.
func TestAnIDIsUsedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.db")
	w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, StateFile: file})
	w.startWorker("one", quick())
	w.hear()
	w.deployed(masterSlave, 1, 1)
	backup := w.backup(file)
	lost := w.deployed(masterSlave, 1, 1)
	w.marked()
	w.restore(file, backup)
	poll.Until(t, "its end to be noted", func() bool {
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: lost, Reason: "test"}, nuid.Next())
		must(t, err)
		record, _, err := w.pipe.LoadRecord(t.Context(), lost)
		return err == nil && record.Deleted
	})
	again := w.service(masterSlave, 1, 2)
	if again != lost {
		t.Fatalf("the new service has the id %d, not %d", again, lost)
	}
	w.accepted(again, flow.VerbDeploy, nil)
	w.await(again, spec.ServiceRunning)
	w.exactly(again, 3)
}

// An older copy of NATS's data is put back: services go on as oned has them. What was decided
// or commanded before, and was carried out since, is not done again.
func TestAnOlderCopyOfTheData(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("first", quick())
	service := w.deployed(masterSlave, 1, 3)
	w.sim.PauseBoots()
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 5})
	poll.Until(t, "VMs to boot", func() bool { return len(w.vms(service)) == 6 })
	stop()
	w.later(service, 1) // a command that is in the copy
	older := filepath.Join(t.TempDir(), "older")
	w.nats.Stop()
	must(t, os.CopyFS(older, os.DirFS(w.nats.StoreDir())))
	w.nats.Start()
	w.sim.ResumeBoots()
	stop = w.startWorker("second", quick())
	w.await(service, spec.ServiceRunning)
	w.scaledTo(service, 1)
	w.scaledTo(service, 4)
	w.exactly(service, 5)
	stop()
	w.ages(service)
	w.nats.Stop()
	must(t, os.RemoveAll(w.nats.StoreDir()))
	must(t, os.CopyFS(w.nats.StoreDir(), os.DirFS(older)))
	w.nats.Start()
	poll.Until(t, "NATS to be back", func() bool { return w.pipe.State().Connected })
	before := w.ids(service)
	w.startWorker("third", quick())
	w.mismatch("older copy")
	poll.Until(t, "new commands to be carried out", func() bool {
		return w.command(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)}).Refused == ""
	})
	w.exactly(service, 5)
	if after := w.ids(service); len(before) != len(after) {
		t.Errorf("the VMs were %v and are %v", before, after)
	}
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 5})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 6)
}

// later queues a scaling of the Slaves that nobody carries out yet.
func (w *world) later(service, slaves int) {
	w.t.Helper()
	arguments, err := json.Marshal(flow.ScaleArguments{Role: "Slave", Cardinality: slaves})
	must(w.t, err)
	_, _ = w.pipe.SubmitCommand(w.t.Context(), flow.Command{
		ID: nuid.Next(), Verb: flow.VerbScale, Service: service, User: aliceIdentity, Arguments: arguments,
	}, 10*time.Millisecond)
}

// ages has the service's document say that something happened to it later than any data of
// now was written.
func (w *world) ages(service int) {
	w.t.Helper()
	body, _ := w.body(service)
	body.Log = append(body.Log, spec.LogEntry{Timestamp: time.Now().Add(10 * time.Minute).Unix(), Severity: "I", Message: "later"})
	must(w.t, w.oned.Server().UpdateDocument(w.t.Context(), service, encode(w.t, body)))
}

// A mark that cannot be read, VMs that were purged, and a zone without VMs are no other
// database.
func TestWhatIsNoOtherDatabase(t *testing.T) {
	w := newWorld(t)
	must(t, pipeline.OnedNote.Save(t.Context(), w.pipe.Pipeline, pipeline.OnedMark{VM: -1}))
	stop := w.startWorker("first", quick())
	w.hear()
	w.deployed(masterSlave, 0, 0)
	if found, has, err := w.pipe.LastMismatch(t.Context()); err != nil || has {
		t.Errorf("without a VM: %+v %v", found, err)
	}
	w.deployed(masterSlave, 1, 1)
	stop()
	for _, mark := range []pipeline.OnedMark{{VM: -1}, {VM: 1}, {VM: 1, Made: ""}} {
		must(t, pipeline.OnedNote.Save(t.Context(), w.pipe.Pipeline, mark))
		stop := w.startWorker("again", quick())
		w.deployed(masterSlave, 1, 1)
		stop()
		if found, has, err := w.pipe.LastMismatch(t.Context()); err != nil || has {
			t.Errorf("%+v: %+v %v", mark, found, err)
		}
	}
	must(t, pipeline.OnedNote.Save(t.Context(), w.pipe.Pipeline, pipeline.OnedMark{VM: 1, Made: "1000"}))
	w.startWorker("other", quick())
	w.mismatch("VM 1 is not the VM 1")
	w.deployed(masterSlave, 1, 1)
}

// whileAnswered has something done in the moment when oned has answered a call of the method,
// before the caller goes on, once.
func (w *world) whileAnswered(method string, do func()) (arm func()) {
	w.t.Helper()
	credentials, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	must(w.t, err)
	var armed atomic.Bool
	w.oned = opennebula.NewClient(opennebula.Config{
		Endpoint: w.sim.Endpoint(), Credentials: credentials, Timeout: 5 * time.Second,
		Observe: func(called string, _ time.Duration) {
			if called == method && armed.CompareAndSwap(true, false) {
				do()
			}
		},
	})
	w.t.Cleanup(w.oned.Close)
	return func() { armed.Store(true) }
}

// oned's database is restored between what a call was decided on and the call: it does not
// reach the oned that was started with the backup.
func TestOnedIsRestoredBehindADecision(t *testing.T) {
	fewer := flow.ScaleArguments{Role: "Slave", Cardinality: 1}
	renamed := flow.UpdateArguments{Append: true, Template: []byte(`{"description":"later"}`)}
	for name, test := range map[string]struct {
		last      string // the call that oned answers before it is restored
		verb      flow.Verb
		arguments any
		lost      string // the call that must not come, with this in it
		with      string
	}{
		"before a VM is ended":         {"one.vm.info", flow.VerbScale, fewer, "one.vm.action", ""},
		"before a document is written": {"one.document.info", flow.VerbUpdate, renamed, "one.document.update", "later"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "zone.db")
			w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, StateFile: file})
			var backup []byte
			arm := w.whileAnswered(test.last, func() {
				w.restore(file, backup)
				w.sim.ClearCalls()
			})
			w.startWorker("one", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 2)
			backup = w.backup(file)
			w.deployed(masterSlave, 1, 1)
			w.marked()
			document, err := w.oned.Server().Document(t.Context(), service)
			must(t, err)
			arguments, err := json.Marshal(test.arguments)
			must(t, err)
			arm()
			_, err = w.pipe.SubmitCommand(t.Context(), flow.Command{
				ID: nuid.Next(), Verb: test.verb, Service: service, User: aliceIdentity, Arguments: arguments, IfMatch: []string{document.ETag()},
			}, 10*time.Second)
			must(t, err)
			w.mismatch("restored from a backup")
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 3)
			for _, call := range w.sim.Calls(test.lost, 0) {
				if strings.Contains(fmt.Sprint(call.Arguments), test.with) {
					t.Errorf("oned was called with what was decided on before it was restored: %+v", call)
				}
			}
		})
	}
}
