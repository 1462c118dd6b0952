package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// check waits until every service has come to rest and compares, independently
// of how Flowjet works, what documents, VMs and history say. Where a document changes
// meanwhile, because of a command that was queued to the last, all is compared again.
func (c *chaos) check() {
	c.t.Helper()
	for changed := true; changed; {
		c.wrong = nil
		c.awaitQuiet()
		documents, known := c.documents()
		if !known {
			continue
		}
		nodes := map[int]int{} // VM -> service
		for _, document := range documents {
			c.checkService(document, nodes)
		}
		c.checkVMs(nodes)
		c.checkNetworks(documents)
		c.checkRemoved(documents)
		after, known := c.documents()
		changed = len(c.wrong) > 0 && (!known || !reflect.DeepEqual(documents, after))
	}
	for _, wrong := range c.wrong {
		c.t.Error(wrong)
	}
	c.checkHistory()
}

// note keeps what is wrong, unless it is on its way to be otherwise.
func (c *chaos) note(format string, values ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, values...))
}

// awaitQuiet waits for rest, and says which services do not come to it.
func (c *chaos) awaitQuiet() {
	c.t.Helper()
	limit := time.NewTimer(2 * poll.Limit)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !c.quiet() {
		select {
		case <-tick.C:
		case <-limit.C:
			documents, _ := c.documents()
			for _, document := range documents {
				if body := document.Document.Template.Body; body.State != 2 {
					_, why := c.try(c.t, "GET", fmt.Sprintf("http://%s/flowjet/v1/services/%d/why", c.cloud.api, document.Document.ID), "")
					c.t.Errorf("service %d is stuck in state %d: %+v; its VMs are %v; %s",
						document.Document.ID, body.State, body.Roles, c.vms(c.t, document.Document.ID), why)
				}
			}
			for _, one := range c.zoneVMs() {
				if !one.rests() {
					c.t.Errorf("VM %d of service %s is %s", one.ID, one.Service, one.State)
				}
			}
			for _, worker := range c.workers {
				c.t.Logf("what %v does: %s", worker.arguments, worker.goroutines())
			}
			c.t.FailNow()
		}
	}
}

// documents are all services; known is whether the API has listed them.
func (c *chaos) documents() (documents []serviceDocument, known bool) {
	c.t.Helper()
	status, answer := c.try(c.t, "GET", "http://"+c.cloud.api+"/service", "")
	if status != 200 {
		return nil, false
	}
	var pool struct {
		Pool struct {
			Documents []json.RawMessage `json:"DOCUMENT"`
		} `json:"DOCUMENT_POOL"`
	}
	if err := json.Unmarshal(answer, &pool); err != nil {
		c.t.Fatal(err)
	}
	documents = make([]serviceDocument, len(pool.Pool.Documents))
	for i, text := range pool.Pool.Documents {
		if err := json.Unmarshal(text, &documents[i].Document); err != nil {
			c.t.Fatal(err)
		}
	}
	return documents, true
}

// quiet recovers what a fault has made fail, as an operator would, and reports
// whether all services run, and all VMs: that of one was powered off its service may not know yet.
func (c *chaos) quiet() bool {
	documents, quiet := c.documents()
	for _, document := range documents {
		state := document.Document.Template.Body.State
		quiet = quiet && state == 2
		if recoverable(state) {
			path := fmt.Sprintf("http://%s/service/%d/action", c.cloud.api, document.Document.ID)
			c.try(c.t, "POST", path, `{"action": {"perform": "recover", "params": {}}}`)
		}
	}
	return quiet && !slices.ContainsFunc(c.zoneVMs(), func(one vm) bool { return !one.rests() })
}

// zoneVMs are the VMs of services at the simulator, those that have ended too.
func (c *chaos) zoneVMs() []vm {
	c.t.Helper()
	_, answer := c.try(c.t, "GET", "http://"+c.control+"/vms", "")
	var all []vm
	if err := json.Unmarshal(answer, &all); err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(one vm) bool { return one.Service == "" })
}

// rests reports whether the VM runs or has ended.
func (v vm) rests() bool { return v.State == "RUNNING" || v.State == "DONE" }

// recoverable reports whether a service in the state is one that an operator recovers.
func recoverable(state int) bool {
	return spec.ServiceState(state) == spec.ServiceWarning || spec.ServiceState(state).Failed()
}

// checkService: every role has as many nodes as its cardinality says, no VM is
// in two places, and the last accepted scaling counts.
func (c *chaos) checkService(document serviceDocument, nodes map[int]int) {
	id := document.Document.ID
	for _, role := range document.Document.Template.Body.Roles {
		if len(role.Nodes) != role.Cardinality {
			c.note("service %d: role %s has %d nodes and cardinality %d", id, role.Name, len(role.Nodes), role.Cardinality)
		}
		for _, node := range role.Nodes {
			if other, taken := nodes[node.DeployID]; taken {
				c.note("VM %d is a node of services %d and %d", node.DeployID, other, id)
			}
			nodes[node.DeployID] = id
		}
		if may, story := c.log.mayHave(id, role.Cardinality); role.Name == "Master" && !may {
			c.note("service %d: role Master has cardinality %d: %s", id, role.Cardinality, story)
		}
	}
}

// checkVMs: every VM that lives is a node and runs, every node lives, no two
// VMs stand for the same intent.
func (c *chaos) checkVMs(nodes map[int]int) {
	keys := map[string]int{}
	for _, one := range c.zoneVMs() {
		if one.State == "DONE" {
			continue
		}
		service, isNode := nodes[one.ID]
		switch {
		case !isNode:
			c.note("VM %d (%s, %s) of service %s is nobody's node: an orphan", one.ID, one.Key, one.State, one.Service)
		case fmt.Sprint(service) != one.Service || one.State != "RUNNING":
			c.note("VM %d of service %s is %s and a node of service %d", one.ID, one.Service, one.State, service)
		}
		if other, twice := keys[one.Key]; twice {
			c.note("VMs %d and %d carry the same key %s", other, one.ID, one.Key)
		}
		keys[one.Key] = one.ID
		delete(nodes, one.ID)
	}
	for id, service := range nodes {
		c.note("node %d of service %d does not live", id, service)
	}
}

// checkNetworks: a service of the template netted has its network once, and no
// network is left behind.
func (c *chaos) checkNetworks(documents []serviceDocument) {
	c.t.Helper()
	wanted := map[string]int{}
	for _, document := range documents {
		if body := document.Document.Template.Body; len(body.Networks) > 0 {
			wanted[fmt.Sprintf("Priv-%d", document.Document.ID)] = document.Document.ID
		}
	}
	for _, network := range c.networks() {
		if network.ID == 0 {
			continue // the zone's own
		}
		service, known := wanted[network.Name]
		switch {
		case !known:
			c.note("network %d (%s) is nobody's, or there twice: an orphan", network.ID, network.Name)
		case network.State != one.NetworkReady:
			c.note("network %d of service %d is in state %d", network.ID, service, network.State)
		}
		delete(wanted, network.Name)
	}
	for name, service := range wanted {
		c.note("service %d has no network %s", service, name)
	}
}

// oned is a client of the zone's own.
func (c *chaos) oned() *opennebula.Client {
	c.t.Helper()
	credentials, err := opennebula.ReadCredentials(c.plan.AuthFile())
	if err != nil {
		c.t.Fatal(err)
	}
	oned := opennebula.NewClient(opennebula.Config{Endpoint: fmt.Sprintf("http://%s:%d/RPC2", c.plan.Oneds[0], c.plan.Ports.XMLRPC), Credentials: credentials})
	oned.Follow(c.t.Context(), 0)
	return oned
}

// networks asks oned itself.
func (c *chaos) networks() []opennebula.Network {
	c.t.Helper()
	oned := c.oned()
	defer oned.Close()
	var networks []opennebula.Network
	poll.Until(c.t, "oned to list its networks", func() (listed bool) {
		var err error
		networks, err = oned.Server().Confirmed().Networks(c.t.Context(), opennebula.FilterAll)
		return err == nil
	})
	return networks
}

func (c *chaos) checkRemoved(documents []serviceDocument) {
	for _, document := range documents {
		if c.log.removed[document.Document.ID] {
			c.note("service %d is still there although its removal was accepted", document.Document.ID)
		}
	}
}

// checkHistory: the transitions of each service are told once each, in order,
// and each begins where the last ended.
func (c *chaos) checkHistory() {
	c.t.Helper()
	states, ids := map[string]string{}, map[string]bool{}
	eachTransition(c.t, c.urls, c.plan.Keys(), func(id string, t pipeline.Transition) {
		if ids[id] {
			c.t.Errorf("transition %s was told twice", id)
		}
		ids[id] = true
		if t.Kind == "vm" || t.New == "DELETED" {
			return
		}
		what := fmt.Sprintf("%d %s %s", t.Service, t.Kind, t.Role)
		if before, known := states[what]; known && before != t.Old {
			c.t.Errorf("%s: transition %s goes from %s to %s, but the last led to %s", what, id, t.Old, t.New, before)
		}
		states[what] = t.New
	})
	if len(ids) == 0 {
		c.t.Error("no history was told")
	}
}

// asOperator returns the options of a connection with the operator's key in a folder.
func asOperator(t *testing.T, keys string) []nats.Option {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(filepath.Join(keys, "operator.nk"))
	if err != nil {
		t.Fatal(err)
	}
	return []nats.Option{key, nats.CustomInboxPrefix(pipeline.RoleOperator.InboxPrefix())}
}

// eachTransition reads the whole history in order.
func eachTransition(t *testing.T, urls, keys string, visit func(id string, t pipeline.Transition)) {
	t.Helper()
	conn, err := nats.Connect(urls, asOperator(t, keys)...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	var consumer jetstream.Consumer
	var stream jetstream.Stream
	poll.Until(t, "the history to be readable", func() bool {
		stream, err = js.Stream(ctx, pipeline.StreamFlow)
		if err != nil {
			return false
		}
		consumer, err = js.OrderedConsumer(ctx, pipeline.StreamFlow, jetstream.OrderedConsumerConfig{})
		return err == nil
	})
	for left := int64(stream.CachedInfo().State.Msgs); left > 0; { //nolint:gosec // a campaign tells thousands
		var batch jetstream.MessageBatch
		poll.Until(t, "the next transitions of the history", func() bool {
			batch, err = consumer.FetchNoWait(500)
			return err == nil
		})
		for message := range batch.Messages() {
			left--
			var transition pipeline.Transition
			if err := json.Unmarshal(message.Data(), &transition); err != nil {
				t.Fatal(err)
			}
			visit(message.Headers().Get(jetstream.MsgIDHeader), transition)
		}
		if ctx.Err() != nil {
			t.Fatalf("%d transitions cannot be read", left)
		}
	}
}
