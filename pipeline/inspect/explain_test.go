package inspect

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
)

// What led to a state is the last transition to it; where history has none, the service's log has
// since when it lasts; and a service that has ended was brought there by what had it undeployed.
func TestWhatLedToAState(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 5, 4, 12, minute, 0, 0, time.UTC) }
	change := func(minute int, kind, state, reason string) pipeline.Transition {
		return pipeline.Transition{
			Service: 42, Time: at(minute), Change: flow.Change{Kind: kind, Role: "web", New: state, Reason: reason},
			Cause: pipeline.Cause{Kind: "command", ID: "scale c" + reason, User: "anna"},
		}
	}
	for name, test := range map[string]struct {
		path    []pipeline.Transition
		log     []spec.LogEntry
		deleted bool
		want    string
	}{
		"nothing is known":          {want: "service 42 is RUNNING"},
		"the log has another state": {log: []spec.LogEntry{{Timestamp: at(1).Unix(), Message: "New state: SCALING"}}, want: "service 42 is RUNNING"},
		"the log has it": {
			log:  []spec.LogEntry{{Timestamp: at(1).Unix(), Message: "New state: RUNNING"}, {Timestamp: at(2).Unix(), Message: "a word"}},
			want: "service 42 is RUNNING since 2026-05-04T12:01:00Z",
		},
		"history has it": {
			path: []pipeline.Transition{change(1, "service", "RUNNING", "1"), change(3, "service", "RUNNING", "3"), change(4, "role", "RUNNING", "4")},
			want: "service 42 is RUNNING since 2026-05-04T12:03:00Z because 3; cause: anna requested scale",
		},
		"history is behind": {
			path: []pipeline.Transition{change(1, "service", "RUNNING", "1"), change(3, "service", "SCALING", "3")},
			log:  []spec.LogEntry{{Timestamp: at(5).Unix(), Message: "New state: RUNNING"}},
			want: "service 42 is RUNNING",
		},
		"it has ended": {
			path: []pipeline.Transition{change(1, "service", "UNDEPLOYING", "1"), change(2, "service", "DONE", ""), change(3, "service", pipeline.Deleted, "3")},
			want: "service 42 is DELETED since 2026-05-04T12:03:00Z because 1; cause: anna requested scale",
		},
		"its record is a tombstone": {deleted: true, want: "service 42 is DELETED"},
	} {
		state := spec.ServiceRunning
		record := pipeline.Record{Deleted: test.deleted, State: flow.State{Service: spec.Service{Body: spec.Body{Name: "a", State: &state, Log: test.log}}}}
		why := Explain(42, record, flow.Facts{}, test.path, at(10))
		if why.Summary != test.want {
			t.Errorf("%s: %q, want %q", name, why.Summary, test.want)
		}
		for _, null := range []string{`"failed":null`, `"waits":null`, `"notes":null`, `"next":null`, `"roles":null`, `"path":null`} {
			if text, err := json.Marshal(why); err != nil || strings.Contains(string(text), null) {
				t.Errorf("%s: clients read %s (%v)", name, text, err)
			}
		}
	}
}

// A document that cannot be read is said to be so, whether or not something else is known.
func TestAnUnreadableDocumentHasTheLastWord(t *testing.T) {
	state := spec.ServiceRunning
	why := Explain(42, pipeline.Record{State: flow.State{Service: spec.Service{Body: spec.Body{State: &state}}}}, flow.Facts{}, nil, time.Now())
	why.Unreadable(errors.New("roles is a text"))
	if len(why.Failed) != 1 || why.State != "RUNNING" || !strings.Contains(why.Summary, "roles is a text") || !strings.Contains(strings.Join(why.Next, " "), "`oneflow recover 42`") {
		t.Errorf("%+v", why)
	}
	if text := (UnreadableError{errors.New("roles is a text")}).Error(); text != "roles is a text" {
		t.Errorf("it reads %q", text)
	}
}

func TestTheWorkIsShownByPartition(t *testing.T) {
	missing := time.Now()
	status := Status{
		Workers: []WorkerShare{
			{Worker: "a", Router: true, Partitions: []int{0, 2}},
			{Worker: "b", Autoscaler: true, OnedUnreachable: true, Partitions: []int{1}},
		},
		Members:     []presence.Member{{Name: "fe1", Missing: missing}},
		Servers:     []ServerStatus{{Name: "n1", Away: true}},
		Readers:     []ReaderStatus{{Reader: pipeline.RouterKey, Lag: 7}, {Reader: pipeline.PartitionKey(2), Lag: 3}, {Reader: pipeline.WebhooksCursor, Lag: 9}},
		DeadLetters: map[string]uint64{"work": 2, "bridge": 1},
	}
	work := status.Work()
	if work.Router != "a" || work.Autoscaler != "b" || work.EventsWaiting != 7 || work.DeadLetters != 3 || len(work.Members) != 1 || len(work.Servers) != 1 {
		t.Errorf("the work is %+v", work)
	}
	if len(work.Workers) != 2 || work.Workers[1] != (WorkerStatus{Name: "b", OnedUnreachable: true}) {
		t.Errorf("the workers are %+v", work.Workers)
	}
	for i, want := range []PartitionStatus{{0, "a", 0}, {1, "b", 0}, {2, "a", 3}, {3, "", 0}} {
		if work.Partitions[i] != want {
			t.Errorf("partition %d is %+v, want %+v", i, work.Partitions[i], want)
		}
	}
	if len(work.Partitions) != pipeline.Partitions {
		t.Errorf("there are %d partitions", len(work.Partitions))
	}
}

// A server is named once, however many copies it holds, and the leader of a stream is one too.
func TestServersOfStreams(t *testing.T) {
	away := &jetstream.PeerInfo{Name: "n3", Active: time.Minute}
	servers := withServers(nil, nil)
	for _, cluster := range []*jetstream.ClusterInfo{
		{Leader: "n2", Replicas: []*jetstream.PeerInfo{{Name: "n1"}, away}},
		{Leader: "n1", Replicas: []*jetstream.PeerInfo{{Name: "n2"}, away}},
		{Replicas: []*jetstream.PeerInfo{{Name: "n1"}, {Name: "n2", Offline: true}}},
	} {
		servers = withServers(servers, cluster)
	}
	want := []ServerStatus{{Name: "n1"}, {Name: "n2", Away: true, Streams: 1}, {Name: "n3", Away: true, Streams: 2}}
	if len(servers) != len(want) {
		t.Fatalf("the servers are %+v", servers)
	}
	for i := range want {
		if servers[i] != want[i] {
			t.Errorf("server %d is %+v, want %+v", i, servers[i], want[i])
		}
	}
}
