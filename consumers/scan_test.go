package consumers_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// readsOf counts how often a service's document and its VMs, all at once, were read.
func (w *world) readsOf(service int) (documents, vms int) {
	w.t.Helper()
	ids := w.ids(service)
	for _, call := range w.sim.Calls("one.document.info", 0) {
		if call.Arguments[0] == strconv.Itoa(service) {
			documents++
		}
	}
	isAll := func(c sim.Call) bool { return c.Arguments[2] == strconv.Itoa(slices.Max(ids)) }
	for _, call := range w.sim.Calls("one.vmpool.infoextended", 0) {
		if isAll(call) {
			vms++
		}
	}
	return documents, vms
}

// inTrouble deploys a service and lets its hosts fail: nothing is due for it, and the regular scan wakes it.
func (w *world) inTrouble() int {
	w.t.Helper()
	service := w.deployed(masterSlave, 2, 2)
	for host := range 4 {
		_, err := w.sim.FailHost(host)
		must(w.t, err)
	}
	w.await(service, spec.ServiceWarning)
	return service
}

// A scan wakes every service that waits. One that has just read oned need not read again; one that is to read for another
// reason does, whichever of the two came first.
func TestAScanReadsNothingThatWasJustRead(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", patient())
	service := w.inTrouble()
	wake := func(scans ...bool) {
		for _, scan := range scans {
			_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test", Scan: scan}, nuid.Next())
			must(t, err)
		}
	}
	documents, vms := w.readsOf(service)
	wake(false)
	poll.Until(t, "the service to have been read", func() bool {
		read, readVMs := w.readsOf(service)
		return read > documents && readVMs > vms
	})
	command := func() { // which waits for what came before it
		w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	}
	command()
	documents, vms = w.readsOf(service)
	wake(true)
	command() // reads the document
	if read, readVMs := w.readsOf(service); read != documents+1 || readVMs != vms {
		t.Errorf("the document was read %d times, the VMs %d times; want once, by the command, and never", read-documents, readVMs-vms)
	}
	wake(false, true)
	command()
	if _, readVMs := w.readsOf(service); readVMs == vms {
		t.Error("a scan that came after another wake-up keeps the service from being read")
	}
}

// A service that nothing else wakes is read all the same: at every other scan.
func TestAServiceThatNothingWakesIsReadByScans(t *testing.T) {
	w := newWorld(t)
	stopHearing := w.hear()
	stop := w.startWorker("one", patient())
	service := w.inTrouble()
	stopHearing()
	stop()
	worker := consumers.New(consumers.Config{ID: "two", Settings: patient(), ScanInterval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, w.oned)
	_, before := w.readsOf(service)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	poll.Until(t, "the service to be loaded", func() bool { _, vms := w.readsOf(service); return vms > before })
	for host := range 4 {
		_, err := w.sim.RecoverHost(host)
		must(t, err)
	}
	recovered := time.Now()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
	if took := time.Since(recovered); took > 20*time.Second {
		t.Errorf("the service was read after %s, want two scans", took)
	}
}

// A service without VMs and timers, whose document was deleted while no worker ran, does not stay among the services.
func TestARecordWithoutADocumentIsEnded(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", patient())
	failed, lives := w.service(`{"name":"failed","state":0,"roles":[{"name":"r","type":"vm","cardinality":1,"template_id":999,"state":0}]}`), w.deployed(masterSlave, 1, 1)
	w.accepted(failed, flow.VerbDeploy, nil)
	w.await(failed, spec.ServiceFailedDeploying)
	stop()
	must(t, w.oned.Server().DeleteDocument(t.Context(), failed))
	w.startWorker("two", patient())
	poll.Until(t, "the record to have ended", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), failed)
		must(t, err)
		return record.Deleted
	})
	if record, _, err := w.pipe.LoadRecord(t.Context(), lives); err != nil || record.Deleted {
		t.Errorf("the other service: %+v, %v", record, err)
	}
}
