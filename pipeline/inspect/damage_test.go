package inspect

import (
	"reflect"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// recordIn is the record of a service in a state since a minute ago, which has published so many transitions.
func recordIn(service int, state spec.ServiceState, published uint64) pipeline.Record {
	since := spec.LogEntry{Timestamp: time.Now().Add(-time.Minute).Unix(), Severity: "I", Message: spec.StateLogged + state.String()}
	return pipeline.Record{
		State:  flow.State{Service: spec.Service{ID: service, Body: spec.Body{State: &state, Log: []spec.LogEntry{since}}}},
		Outbox: pipeline.Outbox{First: published + 1},
	}
}

// What NATS has lost of the records or of the history is found by comparing them: what is left looks whole.
func TestLostRecordsAndHistoriesAreFound(t *testing.T) {
	p, ctx := single(t), limited(t)
	past := history.New(p.Pipeline)
	damage := func() Damage {
		t.Helper()
		found, err := p.Damage(ctx)
		must(t, err)
		return found
	}
	if found := damage(); !reflect.DeepEqual(found, Damage{}) {
		t.Errorf("without services: %+v", found)
	}
	const (
		whole      = 1 // has both
		lostRecord = 2
		lostEnd    = 3 // of its history
		ofOneFlow  = 4 // which has set another state since
		ended      = 5 // whose record has expired
		tombstone  = 6
		takenOver  = 7 // from OneFlow: nothing is published yet
		unreadable = 8
	)
	for service, states := range map[int][]string{
		whole: {"DEPLOYING", "RUNNING"}, lostRecord: {"DEPLOYING", "RUNNING"}, lostEnd: {"DEPLOYING"}, ofOneFlow: {"RUNNING"},
		ended: {"DONE", pipeline.Deleted}, tombstone: {"UNDEPLOYING"}, unreadable: {"RUNNING"},
	} {
		for i, state := range states {
			must(t, past.PublishTransitions(ctx, []pipeline.Transition{transition(service, state)}, uint64(i)+1)) //nolint:gosec // small
		}
	}
	gone := recordIn(tombstone, spec.ServiceDone, 3)
	gone.Deleted = true
	for _, record := range []pipeline.Record{
		recordIn(whole, spec.ServiceRunning, 2), recordIn(lostEnd, spec.ServiceRunning, 2), recordIn(ofOneFlow, spec.ServiceWarning, 1),
		gone, recordIn(takenOver, spec.ServiceRunning, 0),
	} {
		_, err := p.SaveRecord(ctx, record.State.Service.ID, record, 0)
		must(t, err)
	}
	records, err := p.JetStream().KeyValue(ctx, pipeline.BucketState)
	must(t, err)
	_, err = records.Put(ctx, "8", []byte("{"))
	must(t, err)
	if found, want := damage(), (Damage{Records: []int{lostRecord}, Histories: []int{lostEnd}}); !reflect.DeepEqual(found, want) {
		t.Errorf("it finds %+v, want %+v", found, want)
	}
}

// An emptied history is missed by the services that have published, as long as what they published would still be kept.
func TestAnEmptiedHistoryIsMissed(t *testing.T) {
	p, ctx := single(t), limited(t)
	old := recordIn(3, spec.ServiceRunning, 4)
	old.State.Service.Body.Log[0].Timestamp = 1
	for _, record := range []pipeline.Record{recordIn(1, spec.ServiceRunning, 2), recordIn(2, spec.ServiceRunning, 0), old} {
		record.Outbox.First-- // 0 for one that has published nothing
		_, err := p.SaveRecord(ctx, record.State.Service.ID, record, 0)
		must(t, err)
	}
	found, err := p.Damage(ctx)
	must(t, err)
	if want := (Damage{Histories: []int{1}}); !reflect.DeepEqual(found, want) {
		t.Errorf("it finds %+v, want %+v", found, want)
	}
}
