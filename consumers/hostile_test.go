package consumers_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// Names in a document that was written through oned are of any length: the service goes
// on, and the others, and a worker that starts on the same record.
func TestLongNamesInADocument(t *testing.T) {
	long := strings.Repeat("n", 5000)
	for name, body := range map[string]string{
		"a role": `{"name":"svc","deployment":"none","state":0,"roles":[{"name":"` + long + `","type":"vm","cardinality":1,"template_id":0,"state":0}]}`,
		"a network": `{"name":"svc","deployment":"none","state":0,"networks":{"` + long + `":"M|network|n| |template_id:0"},
			"networks_values":[{"` + long + `":{"template_id":"0"}}],"roles":[]}`,
		"a router": `{"name":"svc","deployment":"none","state":0,"roles":[{"name":"` + long + `","type":"vr","cardinality":1,"template_id":0,"state":0}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.startWorker("first", quick())
			w.hear()
			poisoned := w.service("%s", body)
			_ = w.command(poisoned, flow.VerbDeploy, nil)
			w.deployed(masterSlave, 1, 1)
			stop()
			w.startWorker("second", quick())
			w.deployed(masterSlave, 1, 1)
			select {
			case <-w.pipe.Lost():
				t.Error("NATS has closed the connection")
			default:
			}
		})
	}
}

// A document from which a record would come that NATS never takes is a dead letter, and
// holds up nobody.
func TestARecordThatNATSNeverTakes(t *testing.T) {
	const most = 256 << 10
	w := newWorld(t)
	w.nats.Stop()
	w.nats.Change(func(o *server.Options) { o.MaxPayload = most })
	w.nats.Start()
	poll.Until(t, "NATS to be back", func() bool { return w.pipe.State().Connected })
	w.startWorker("w", quick())
	w.hear()
	poisoned := w.service(`{"name":"svc","deployment":"none","state":0,"roles":[],"description":"%s"}`, strings.Repeat("d", most))
	command := flow.Command{ID: nuid.Next(), Verb: flow.VerbDeploy, Service: poisoned, User: one.Identity{UID: 2, UName: "alice"}}
	_, err := w.pipe.SubmitCommand(t.Context(), command, time.Millisecond)
	if !errors.Is(err, pipeline.ErrNoReply) {
		must(t, err)
	}
	poll.Until(t, "a dead letter", func() bool {
		letters, err := w.pipe.DeadLetters(t.Context(), 10)
		return err == nil && len(letters) > 0 && letters[0].Service() == poisoned && strings.Contains(letters[0].Reason, "max_payload")
	})
	w.deployed(masterSlave, 1, 1)
}

// call is one call at oned as a user, with numbers behind the session.
func (w *world) call(user, method string, numbers ...int) {
	w.t.Helper()
	parameters := "<param><value><string>" + user + "</string></value></param>"
	for _, number := range numbers {
		parameters += fmt.Sprintf("<param><value><int>%d</int></value></param>", number)
	}
	if method == "one.document.lock" {
		parameters += "<param><value><boolean>0</boolean></value></param>"
	}
	answer, err := http.Post(w.sim.Endpoint(), "text/xml", strings.NewReader(
		"<?xml version=\"1.0\"?><methodCall><methodName>"+method+"</methodName><params>"+parameters+"</params></methodCall>"))
	must(w.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(w.t, err)
	if !strings.Contains(string(text), "<boolean>1</boolean>") {
		w.t.Fatalf("%s: %s", method, text)
	}
}

// A service whose document is locked waits, for that oned refuses everybody, and holds up
// no other. It goes on when the lock is gone.
func TestALockedDocumentHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	locked := w.deployed(masterSlave, 1, 1)
	w.call("alice:alice", "one.document.lock", locked, 1)
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff-hard", w.vms(locked)[0].ID))
	w.deployed(masterSlave, 1, 1)
	w.call("alice:alice", "one.document.unlock", locked)
	w.await(locked, spec.ServiceWarning)
}

// Figures of any size that a tenant has his VM show end nobody's measuring: the services of
// others scale with theirs.
func TestHostileFiguresEndNoMeasuring(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", brisk())
	w.hear()
	hostile, busy := w.deployed(elasticService, 2), w.deployed(elasticService, 2)
	w.load(hostile, map[string]string{"CPU": "1.7e308", "LOAD": "-1.7e308"})
	w.load(busy, map[string]string{"CPU": "95", "LOAD": "2.5"})
	w.awaitCardinality(busy, 2)
	w.exactly(hostile, 1)
}

// Times and ids in a document that its owner has written at oned are any numbers: the service is still commanded and ended.
func TestNumbersOutOfRangeInADocument(t *testing.T) {
	for name, change := range map[string]func(*spec.Body){
		"a start in the future": func(body *spec.Body) { body.StartTime = math.MaxUint32 },
		"a start before 1970":   func(body *spec.Body) { body.StartTime = -1 },
		"a line of the log in the future": func(body *spec.Body) {
			body.Log = append(body.Log, spec.LogEntry{Timestamp: math.MaxUint32, Severity: "I", Message: "later"})
		},
		"a VM with an id that XML-RPC lacks": func(body *spec.Body) {
			body.Roles[0].Nodes = append(body.Roles[0].Nodes, spec.NewNode(one.VM{ID: math.MaxUint32}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("w", quick())
			w.hear()
			service := w.service(`{"name":"svc","deployment":"none","state":0,"start_time":%d,"roles":[
				{"name":"Master","type":"vm","cardinality":1,"template_id":0,"state":0}]}`, time.Now().Unix())
			w.accepted(service, flow.VerbDeploy, nil)
			w.await(service, spec.ServiceRunning)
			body, _ := w.body(service)
			change(&body)
			must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, encode(t, body)))
			// A command that was sent before the document was found changed can be refused once.
			poll.Until(t, "the service to be undeployed", func() bool {
				return w.command(service, flow.VerbUndeploy, nil).Refused == ""
			})
			w.gone(service)
		})
	}
}

// A record that an earlier version wrote for a start in the future refused all commands until then.
func TestARecordOfAServiceThatBeginsInTheFuture(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("first", quick())
	service := w.deployed(masterSlave, 1, 1)
	stop()
	record, revision, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	record.Since = time.Unix(math.MaxUint32, 0)
	_, err = w.pipe.SaveRecord(t.Context(), service, record, revision)
	must(t, err)
	w.startWorker("second", quick())
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	if record, _, err = w.pipe.LoadRecord(t.Context(), service); err != nil || record.Since.After(time.Now()) {
		t.Errorf("the record has commands refused until %s, %v", record.Since, err)
	}
}

// Nodes in a document that are no VMs at all, or strangers' and far apart, have oned asked once
// and not again and again.
func TestHostileNodesHaveOnedAskedOnce(t *testing.T) {
	w := newWorld(t)
	settings := quick()
	settings.CheckInterval = 200 * time.Millisecond
	var strangers []int
	for range 5 {
		id, err := w.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "production", false, "")
		must(t, err)
		strangers = append(strangers, id)
	}
	var nodes strings.Builder
	for i := range 400 {
		fmt.Fprintf(&nodes, `{"deploy_id":%d},`, 1000+i*1000)
	}
	for _, id := range strangers {
		fmt.Fprintf(&nodes, `{"deploy_id":%d},`, id)
	}
	service := w.service(`{"name":"svc","deployment":"none","state":1,"roles":[{"name":"r","type":"vm","cardinality":1,"template_id":0,"state":1,"nodes":[%s]}]}`,
		strings.TrimSuffix(nodes.String(), ","))
	asked := func() int {
		counts := w.sim.CallCounts()
		return counts["one.vm.info"] + counts["one.vmpool.infoextended"]
	}
	before := asked()
	w.startWorker("w", settings)
	w.hear()
	w.deployed(masterSlave, 1, 1)
	poll.Until(t, "the nodes that are no VMs to be gone", func() bool {
		body, exists := w.body(service)
		return exists && len(body.Roles[0].Nodes) <= len(strangers)+1
	})
	if count := asked() - before; count > 300 {
		t.Errorf("oned was asked %d times", count)
	}
}
