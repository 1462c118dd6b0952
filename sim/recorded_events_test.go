package sim_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/sim"
)

type recordedEvent struct {
	Key  string `json:"key"`
	Body string `json:"body_b64"`
}

func recordedEvents(t *testing.T) []published {
	t.Helper()
	var events []published
	for _, line := range fixtures.Lines[recordedEvent](t, "zmq_events.jsonl") {
		body, err := base64.StdEncoding.DecodeString(line.Body)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, published{line.Key, string(body)})
	}
	return events
}

var (
	digits     = regexp.MustCompile(`\d+`)
	apiValue   = regexp.MustCompile(`(?s)<VALUE>.*?</VALUE>`)
	schedEntry = regexp.MustCompile(`<SCHED_ACTIONS>(<ID>\d+</ID>)*</SCHED_ACTIONS>`)
)

// keyForm is a key without its numbers.
func keyForm(key string) string { return digits.ReplaceAllString(key, "N") }

// bodyStructure is a body's structure; what a call was given differs from call
// to call and does not count.
func bodyStructure(t testing.TB, body string) string {
	t.Helper()
	body = apiValue.ReplaceAllString(body, "<VALUE>v</VALUE>")
	return structure(t, schedEntry.ReplaceAllString(body, "<SCHED_ACTIONS></SCHED_ACTIONS>"))
}

// everything has the simulator publish at least once what was recorded.
func everything(t *testing.T, s *sim.Sim, events *listener) {
	t.Helper()
	document := newDocument(t, s)
	must(t, s, "one.document.update", oneadmin, document, "<TEMPLATE><BODY><![CDATA[{}]]></BODY></TEMPLATE>", 0)
	must(t, s, "one.document.rename", oneadmin, document, "other")
	must(t, s, "one.document.chmod", oneadmin, document, 1, 1, 0, 1, 1, 0, 1, 0, 0)
	must(t, s, "one.document.chown", oneadmin, document, 1, 0)
	must(t, s, "one.document.clone", oneadmin, document, "clone")
	must(t, s, "one.document.delete", oneadmin, document)
	must(t, s, "one.vmpool.monitoring", oneadmin, -2, 0)
	must(t, s, "one.template.clone", oneadmin, 0, "clone", false)
	must(t, s, "one.template.chmod", oneadmin, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, false)
	must(t, s, "one.template.allocate", oneadmin, "NAME=vr\nCPU=0.01\nMEMORY=16\nVROUTER=YES\n")
	call(t, s, "one.template.instantiate", oneadmin, 777, "a", false, serviceText, false)
	must(t, s, "one.vn.chmod", oneadmin, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0)
	must(t, s, "one.user.chgrp", oneadmin, must(t, s, "one.user.allocate", oneadmin, "watcher", "watcher", "core").id(t), 0)
	eventfulVM(t, s, events)
	eventfulNetworks(t, s, events)
	newRouter(t, s)
	must(t, s, "one.vrouter.instantiate", oneadmin, 0, 2, 1, "vr_%i_(service_41)", false, routerText)
	must(t, s, "one.vrouter.delete", oneadmin, 0)
	events.await(t, "EVENT API one.vrouter.delete 1", 1)
}

// eventfulVM takes VMs through every state that was recorded.
func eventfulVM(t *testing.T, s *sim.Sim, events *listener) {
	t.Helper()
	must(t, s, "one.template.instantiate", oneadmin, 0, "of nobody", true, "", false)
	inputs := instantiate(t, s, "inputs", "DBUSER = \"bob\"\n"+serviceText+
		"CONTEXT = [ NETWORK = \"YES\", REPORT_READY = \"YES\" ]\nCONTEXT = [ DBUSER = \"$DBUSER\" ]\n")
	awaitState(t, s, inputs, "RUNNING")
	must(t, s, "one.vm.action", oneadmin, "terminate", inputs)
	simple := runningVM(t, s)
	must(t, s, "one.vm.action", oneadmin, "terminate", simple)
	held := must(t, s, "one.template.instantiate", oneadmin, 0, "held", true, serviceText, false).id(t)
	must(t, s, "one.vm.action", oneadmin, "release", held)
	awaitState(t, s, held, "RUNNING")
	deployed := must(t, s, "one.template.instantiate", oneadmin, 0, "deployed", true, serviceText, false).id(t)
	must(t, s, "one.vm.deploy", oneadmin, deployed, 2, false, -1, "")
	call(t, s, "one.vm.deploy", oneadmin, deployed, 2, false, -1, "")
	plain := runningVM(t, s)
	for _, id := range []int{plain, runningVM(t, s)} {
		if id != plain {
			must(t, s, "one.vm.schedadd", oneadmin, id, "SCHED_ACTION = [ACTION = suspend,TIME = 4000000000]")
			must(t, s, "one.vm.schedadd", oneadmin, id, "SCHED_ACTION = [ACTION = reboot,TIME = 4000000000]")
			call(t, s, "one.vm.schedadd", oneadmin, id, "SCHED_ACTION = [ACTION = bogus,TIME = 4000000000]")
		}
		must(t, s, "one.vm.chown", oneadmin, id, -1, 0)
		must(t, s, "one.vm.action", oneadmin, "poweroff-hard", id)
		awaitState(t, s, id, "POWEROFF")
		must(t, s, "one.vm.action", oneadmin, "resume", id)
		awaitState(t, s, id, "RUNNING")
		must(t, s, "one.vm.update", oneadmin, id, "READY=YES\n", 1)
		must(t, s, "one.vm.update", oneadmin, id, serviceText, 0)
		must(t, s, "one.vm.action", oneadmin, "terminate-hard", id)
		awaitState(t, s, id, "DONE")
	}
	scheduled := runningVM(t, s)
	entry := must(t, s, "one.vm.schedadd", oneadmin, scheduled, "SCHED_ACTION = [ACTION = suspend,TIME = 4000000000]").id(t)
	must(t, s, "one.vm.action", oneadmin, "terminate", scheduled)
	awaitState(t, s, scheduled, "DONE")
	must(t, s, "one.vm.scheddelete", oneadmin, scheduled, entry)
	events.await(t, fmt.Sprintf("EVENT STATE VM/DONE/LCM_INIT/%d ", scheduled), 1)
}

func eventfulNetworks(t *testing.T, s *sim.Sim, events *listener) {
	t.Helper()
	must(t, s, "one.vntemplate.allocate", oneadmin, "NAME=vnt\nVN_MAD=dummy\nBRIDGE=br1\n")
	made := must(t, s, "one.vntemplate.instantiate", oneadmin, 0, "Priv", "AR=[TYPE=IP4,IP=192.168.5.1,SIZE=20]").id(t)
	reserved := must(t, s, "one.vn.reserve", oneadmin, 0, "SIZE=5\nNAME=\"Res\"\n").id(t)
	for _, id := range []int{made, reserved} {
		readyNetwork(t, s, id)
		must(t, s, "one.vn.delete", oneadmin, id)
		events.await(t, fmt.Sprintf("EVENT STATE NET/DONE//%d ", id), 1)
	}
}

// TestEventsHaveTheRecordedForms holds every recorded key form with every
// structure of its bodies against what the simulator publishes.
func TestEventsHaveTheRecordedForms(t *testing.T) {
	recorded := recordedEvents(t)
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	events := subscribe(t, s, "")
	everything(t, s, events)
	known := map[string][]string{}
	for _, m := range events.all() {
		form := keyForm(m.key)
		known[form] = append(known[form], bodyStructure(t, m.body))
	}
	for i, m := range recorded {
		form, want := keyForm(m.key), bodyStructure(t, m.body)
		if len(known[form]) == 0 {
			t.Errorf("line %d: %q was never published", i, m.key)
			continue
		}
		if !slices.Contains(known[form], want) {
			t.Errorf("line %d: %q never had this body%s", i, m.key, difference(want, known[form][len(known[form])-1]))
		}
	}
}

// lifeOf are the keys of one VM's messages in order, without its numbers;
// consecutive messages of other VMs and calls do not count.
func lifeOf(events []published, id int, name string) []string {
	var life []string
	for _, m := range events {
		if strings.Contains(m.body, fmt.Sprintf("<RESOURCE_ID>%d</RESOURCE_ID>", id)) && strings.Contains(m.body, name) {
			life = append(life, keyForm(m.key))
		}
	}
	return life
}

func TestLivesOfVMsHaveTheRecordedOrder(t *testing.T) {
	recorded := recordedEvents(t)
	s := start(t, sim.Config{})
	events := subscribe(t, s, "EVENT ")

	restarted := runningVM(t, s)
	must(t, s, "one.vm.action", oneadmin, "poweroff", restarted)
	awaitState(t, s, restarted, "POWEROFF")
	must(t, s, "one.vm.action", oneadmin, "resume", restarted)
	awaitState(t, s, restarted, "RUNNING")
	must(t, s, "one.vm.action", oneadmin, "terminate", restarted)
	held := must(t, s, "one.template.instantiate", oneadmin, 0, "held", true, serviceText, false).id(t)
	must(t, s, "one.vm.action", oneadmin, "release", held)
	awaitState(t, s, held, "RUNNING")
	events.await(t, fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", held), 1)
	events.await(t, fmt.Sprintf("EVENT STATE VM/DONE/LCM_INIT/%d ", restarted), 1)
	events.await(t, "EVENT SERVICE 1 ", 17)

	for _, one := range []struct {
		what     string
		recorded int
		ours     int
	}{{"powered off, resumed and terminated", 22, restarted}, {"held and released", 31, held}} {
		want, got := lifeOf(recorded, one.recorded, "<VM>"), lifeOf(events.all(), one.ours, "<VM>")
		if !slices.Equal(want, got) {
			t.Errorf("a VM %s\nrecorded %q\npublished %q", one.what, want, got)
		}
	}
}

func TestCallsEventStandsWhereOnedPutsIt(t *testing.T) {
	s := start(t, sim.Config{})
	events := subscribe(t, s, "EVENT ")
	id := runningVM(t, s)
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	events.await(t, fmt.Sprintf("EVENT STATE VM/DONE/LCM_INIT/%d ", id), 1)
	keys := events.keys("EVENT ")
	for _, order := range [][2]string{
		{fmt.Sprintf("EVENT STATE VM/PENDING/LCM_INIT/%d ", id), "EVENT API one.template.instantiate 1"},
		{"EVENT API one.vm.action 1", fmt.Sprintf("EVENT STATE VM/ACTIVE/SHUTDOWN/%d ", id)},
	} {
		if first, second := slices.Index(keys, order[0]), slices.Index(keys, order[1]); first < 0 || first > second {
			t.Errorf("%q is not before %q in %q", order[0], order[1], keys)
		}
	}
}
