package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

const netsService = `{"name":"nets","networks_values":[{"Priv":{"template_id":"0","extra":"AR=[SIZE=20]"}},{"Res":{"reserve_from":0,"extra":"SIZE=5"}},{"Old":{"id":"7"}}],
	"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,
	"template_contents":{"NIC":[{"NETWORK_ID":"$Priv"},{"NETWORK_ID":"$Res"},{"NETWORK_ID":"$Old"},{"NETWORK_ID":"$None"},{"NETWORK_ID":"9"}]}}]}`

// see lets a network be in a state and plans.
func (s *stage) see(name string, id int, state one.NetworkState) {
	s.state = flow.IngestNetwork(s.state, name, id, state)
	s.plan()
}

// endNetworks has every network that is to end gone, and none found that may
// have been made.
func (s *stage) endNetworks() {
	for _, network := range s.state.Networks {
		switch {
		case network.ID < 0 && network.Attempted:
			s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindNetwork, Network: flow.Network{Name: network.Name}}}))
		case !network.Asked.IsZero():
			s.see(network.Name, network.ID, one.NetworkDone)
		}
	}
}

func (s *stage) refuseNetwork(name string) {
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateNetwork, Network: flow.Network{Name: name}}, "no addresses")))
}

func TestNetworksComeBeforeRoles(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.wantState(spec.ServiceDeployingNets)
	s.wantActions("create_network Priv", "create_network Res")
	res := s.actions[1].Network
	if res.Called != "Res-27" || res.Extra != "SIZE=5\nNAME=\"Res-27\"\n" || res.From != 0 || res.Source != spec.FromReservation {
		t.Errorf("the reservation is %+v", res)
	}
	if priv := s.actions[0].Network; priv.Called != "Priv-27" || priv.Extra != "AR=[SIZE=20]" || priv.Source != spec.FromTemplate {
		t.Errorf("the network is %+v", priv)
	}
	s.see("Priv", 1, one.NetworkLockCreate)
	s.wantActions("create_network Res")
	s.see("Res", 2, one.NetworkReady)
	s.wantActions()
	s.see("Priv", 1, one.NetworkReady)
	s.wantState(spec.ServiceDeploying)
	s.wantActions("create a/0")
	want := `{"NIC":[{"NETWORK_ID":1},{"NETWORK_ID":2},{"NETWORK_ID":"7"},{"NETWORK_ID":"$None"},{"NETWORK_ID":"9"}]}`
	if got := string(s.role("a").TemplateContents); got != want {
		t.Errorf("template_contents %s, want %s", got, want)
	}
	values := string(s.state.Service.Body.NetworksValues)
	want = `[{"Priv":{"extra":"AR=[SIZE=20]","id":1,"template_id":"0"}},{"Res":{"extra":"SIZE=5\nNAME=\"Res-27\"\n","id":2,"reserve_from":0}},{"Old":{"id":"7"}}]`
	if values != want {
		t.Errorf("networks_values\n%s, want\n%s", values, want)
	}
}

// withNetworks is a stage whose service runs with its networks 1 and 2.
func withNetworks(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, netsService)
	s.plan()
	s.see("Priv", 1, one.NetworkReady)
	s.see("Res", 2, one.NetworkReady)
	s.create()
	s.run(100)
	s.wantState(spec.ServiceRunning)
	return s
}

// Somebody else may write a document that does not say which the service's networks are.
func TestADocumentWithoutItsNetworksIsGivenThem(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.see("Priv", 1, one.NetworkReady)
	s.see("Res", 2, one.NetworkReady)
	s.state.Service.Body = newStage(t, netsService).state.Service.Body
	s.plan()
	s.wantState(spec.ServiceDeploying)
	want := `{"NIC":[{"NETWORK_ID":1},{"NETWORK_ID":2},{"NETWORK_ID":"7"},{"NETWORK_ID":"$None"},{"NETWORK_ID":"9"}]}`
	if got := string(s.role("a").TemplateContents); got != want {
		t.Errorf("template_contents %s, want %s", got, want)
	}
}

func TestNetworksEndAfterTheLastVM(t *testing.T) {
	s := withNetworks(t)
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100")
	s.end(100)
	s.wantState(spec.ServiceUndeployingNets)
	s.wantActions("delete_network Priv", "delete_network Res")
	s.see("Priv", 1, one.NetworkDone)
	s.see("Res", 2, one.NetworkLockDelete)
	s.wantState(spec.ServiceUndeployingNets)
	s.wantActions()
	s.see("Res", 2, one.NetworkDone)
	s.wantState(spec.ServiceDone)
	s.wantActions("delete document")
}

// OneFlow reads several networks in one element of networks_values, too.
func TestNetworksOfOneElementEnd(t *testing.T) {
	s := withNetworks(t)
	body := &s.state.Service.Body
	body.NetworksValues = []byte(strings.ReplaceAll(string(body.NetworksValues), "}},{", "},"))
	s.command(flow.VerbUndeploy, nil)
	s.end(100)
	s.wantState(spec.ServiceUndeployingNets)
	s.wantActions("delete_network Priv", "delete_network Res")
}

func TestRefusedReservationLeavesNothing(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.see("Priv", 1, one.NetworkReady)
	s.refuseNetwork("Res")
	s.wantState(spec.ServiceFailedDeployingNets)
	s.wantActions("delete_network Priv")
	s.wantLog("E Network Res could not be created from reserve_from 0: no addresses", "I New state: FAILED_DEPLOYING_NETS")
	s.see("Priv", 1, one.NetworkDone)
	s.wantActions()
	if strings.Contains(string(s.state.Service.Body.NetworksValues), `"id":1`) {
		t.Error("the document still names a network that is gone")
	}
	s.recover()
	s.wantState(spec.ServiceDeployingNets)
	s.wantActions("create_network Priv", "create_network Res")
}

func TestRecoveredWhileNetworksEnd(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.see("Priv", 1, one.NetworkReady)
	s.refuseNetwork("Res")
	s.recover()
	s.wantActions("delete_network Priv", "create_network Res")
	s.see("Priv", 1, one.NetworkDone)
	s.wantActions("create_network Priv", "create_network Res")
}

func TestBrokenNetworkFailsTheService(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.see("Priv", 1, one.NetworkError)
	s.wantState(spec.ServiceFailedDeployingNets)
	s.wantActions("delete_network Priv", "find_network Res")
	s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindNetwork, Network: flow.Network{Name: "Res"}}}))
	s.wantActions()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionDeleteNetwork, Network: flow.Network{Name: "Priv"}}, "in use")))
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionDeleteNetwork, Network: flow.Network{Name: "Priv"}}, "in use")))
	s.wantLog("I New state: FAILED_DEPLOYING_NETS", "E Network Priv (1) cannot be deleted: in use")
	if next := flow.Explain(s.state, s.facts, s.now).Next; next[0] != "`onevnet recover --delete 1` deletes network Priv" {
		t.Errorf("the advice is %q", next)
	}
	s.planAfter(s.settings.CheckInterval)
	s.wantActions("delete_network Priv")
}

func TestNetworkThatCannotEnd(t *testing.T) {
	s := withNetworks(t)
	s.command(flow.VerbUndeploy, nil)
	s.end(100)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionDeleteNetwork, Network: flow.Network{Name: "Priv"}}, "in use")))
	s.wantState(spec.ServiceFailedUndeployingNets)
	s.state = flow.IngestNetwork(s.state, "Res", 2, one.NetworkLockDelete)
	next := flow.Explain(s.state, s.facts, s.now).Next
	if len(next) != 3 || next[0] != "`onevnet show 1` shows which leases of network Priv are in use" || next[1] != "`onevnet recover --delete 2` deletes network Res" ||
		!strings.Contains(next[2], "`oneflow recover 27`") {
		t.Errorf("the advice is %q", next)
	}
	s.state = flow.IngestNetwork(s.state, "Res", 2, one.NetworkReady)
	s.recover()
	s.wantState(spec.ServiceUndeployingNets)
	s.wantActions("delete_network Priv", "delete_network Res")
}

func TestDeletedWhileNetworksAreMade(t *testing.T) {
	s := newStage(t, netsService)
	s.plan()
	s.recoverDelete()
	s.wantState(spec.ServiceUndeployingNets)
	s.wantActions("find_network Priv", "find_network Res")
	s.see("Priv", 1, one.NetworkReady)
	s.wantActions("delete_network Priv", "find_network Res")
	s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindNetwork, Network: flow.Network{Name: "Res"}}}))
	s.see("Priv", 1, one.NetworkDone)
	s.wantActions("delete document")
}

func TestDeletionIsDoubtedAfterACrash(t *testing.T) {
	s := withNetworks(t)
	s.command(flow.VerbUndeploy, nil)
	s.end(100)
	s.state = flow.DoubtRequests(s.state)
	s.plan()
	s.wantActions("delete_network Priv", "delete_network Res")
}

// A network whose driver does not answer fails the service, with since when, and recover
// goes on once somebody has seen to it.
func TestNetworkThatDoesNotComeFailsTheService(t *testing.T) {
	for name, test := range map[string]struct {
		wait time.Duration
		lead bool
	}{
		"for long": {10 * time.Minute, false}, "after a change of the leader": {time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, `{"name":"web","networks_values":[{"Priv":{"template_id":"0"}}],"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
			s.plan()
			s.state = flow.IngestNetwork(s.state, "Priv", 7, one.NetworkLockCreate)
			s.state = flow.Lead(s.state, 3, s.now)
			s.plan()
			s.planAfter(30 * time.Second)
			s.wantState(spec.ServiceDeployingNets)
			if test.lead {
				s.state = flow.Lead(s.state, 4, s.now)
			}
			s.planAfter(test.wait)
			s.wantState(spec.ServiceFailedDeployingNets)
			if log := s.messages(); !strings.Contains(log, "Network Priv (7) has been in LOCK_CREATE since") {
				t.Errorf("the log does not say why: %s", log)
			}
		})
	}
}

func TestNetworkThatDoesNotEndFailsTheService(t *testing.T) {
	s := newStage(t, `{"name":"web","networks_values":[{"Priv":{"template_id":"0"}}],"roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0}]}`)
	s.plan()
	s.state = flow.IngestNetwork(s.state, "Priv", 7, one.NetworkReady)
	s.plan()
	s.command(flow.VerbUndeploy, nil)
	s.state = flow.IngestNetwork(s.state, "Priv", 7, one.NetworkLockDelete)
	s.plan()
	s.wantState(spec.ServiceUndeployingNets)
	s.planAfter(10 * time.Minute)
	s.wantState(spec.ServiceFailedUndeployingNets)
	s.recover()
	s.wantState(spec.ServiceUndeployingNets)
	s.state = flow.IngestNetwork(s.state, "Priv", 7, one.NetworkDone)
	s.plan()
	s.wantActions("delete document")
}

// oned takes the first of several names. A reservation's text may have one of its own, in either case, quoted or not, and in a form that only
// oned reads as NAME.
func TestAReservationIsCalledAsItsServiceExpects(t *testing.T) {
	for _, extra := range []string{`NAME=mine\nSIZE=5`, `SIZE=5\nname = \"mine\"`, `-NAME=mine\nSIZE=5`, `D='x\nSIZE=5\nNAME=mine`, `SIZE=5, NAME=mine`} {
		s := newStage(t, strings.Replace(netsService, "SIZE=5", extra, 1))
		s.plan()
		text := s.actions[1].Network.Extra
		if at := strings.Index(text, `NAME="Res-27"`); at < 0 || at > strings.Index(strings.ToLower(text), "mine") || !strings.Contains(text, "SIZE=5") {
			t.Errorf("with %s the network is reserved with %q", extra, text)
		}
	}
}

// TestANetworkThatIsNotTheServices: the service goes on as if it had none, and says so. It is asked about also while somebody else deletes it.
func TestANetworkThatIsNotTheServices(t *testing.T) {
	s := withNetworks(t)
	s.state = flow.IngestNetwork(s.state, "Priv", 1, one.NetworkLockDelete)
	s.command(flow.VerbUndeploy, nil)
	s.end(100)
	s.wantActions("delete_network Priv", "delete_network Res")
	strange, before := s.actions[0], s.state
	s.take(flow.Decide(s.in(), flow.Foreign{Action: strange, Message: "network 1 is somebody's"}))
	if told := flow.NodeChanges(before, s.state); len(told) != 1 || told[0].New != flow.NetworkLeft || *told[0].ID != 1 || told[0].Reason != "network 1 is somebody's" {
		t.Errorf("%+v is told", told)
	}
	s.wantState(spec.ServiceUndeployingNets)
	if log := s.messages(); !strings.Contains(log, "W network 1 is somebody's") {
		t.Errorf("the log is %s", log)
	}
	s.see("Res", 2, one.NetworkDone)
	s.wantActions("delete document")
	late := s.state
	if s.take(flow.Decide(s.in(), flow.Foreign{Action: strange, Message: "again"})); len(s.state.Service.Body.Log) != len(late.Service.Body.Log) {
		t.Errorf("an answer that comes again is logged: %s", s.messages())
	}
}

// TestANetworkOfAFailedDeploymentThatIsNotTheServices: recover makes one of the service's own.
func TestANetworkOfAFailedDeploymentThatIsNotTheServices(t *testing.T) {
	s := newStage(t, `{"name":"web","networks_values":[{"Priv":{"template_id":"0","id":"7"}}],"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.see("Priv", 7, one.NetworkError)
	s.wantState(spec.ServiceFailedDeployingNets)
	s.wantActions("delete_network Priv")
	s.take(flow.Decide(s.in(), flow.Foreign{Action: s.actions[0], Message: "network 7 is somebody's"}))
	s.wantActions()
	s.recover()
	s.wantActions("create_network Priv")
}
