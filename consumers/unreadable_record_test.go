package consumers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

// A record that cannot be read holds up its service alone, the log names what mends it once, and that does.
func TestARecordThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("first", quick())
	service := w.deployed(masterSlave, 1, 1)
	stream, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamFlow)
	must(t, err)
	running := pipeline.TransitionSubject(pipeline.Transition{Service: service, Change: flow.Change{Kind: "service", New: spec.ServiceRunning.String()}})
	poll.Until(t, "the history to show that it runs: what only the record holds is lost with it", func() bool {
		_, err := stream.GetLastMsgForSubject(t.Context(), running)
		return err == nil
	})
	stop()
	must(t, w.pipe.Bucket(pipeline.BucketState).Put(t.Context(), fmt.Sprint(service), []byte(`{"v":`)))
	var log testlog.Log
	second := consumers.New(consumers.Config{ID: "second", Settings: quick(), Logger: log.Logger()}, w.pipe.Pipeline, w.oned)
	must(t, second.Start(t.Context()))
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, second.Stop(ending))
	})
	_ = w.submit(w.pipe, service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.deployed(masterSlave, 1, 1)
	mend := fmt.Sprintf("`nats kv del FLOW_STATE %d`", service)
	poll.Until(t, "the log to name what mends it", func() bool { return strings.Contains(log.String(), mend) })
	if reason, _ := second.Degraded(); reason != "" {
		t.Errorf("the worker, which drives the other services, counts as blocked: %s", reason)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, mend) && (strings.Count(line, "load the record") != 1 || strings.Count(line, mend) != 1) {
			t.Errorf("it repeats itself: %s", line)
		}
	}
	if _, err := w.pipe.Why(t.Context(), service, nil); err == nil || strings.Count(err.Error(), mend) != 1 {
		t.Errorf("why says %v", err)
	}
	kv, err := w.pipe.JetStream().KeyValue(t.Context(), pipeline.BucketState)
	must(t, err)
	must(t, kv.Delete(t.Context(), fmt.Sprint(service)))
	poll.Until(t, "the waiting command to be carried out", func() bool { return len(w.vms(service)) == 3 })
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	w.accepted(service, flow.VerbUndeploy, nil)
	w.historyHolds(service, " after its record was lost")
}
