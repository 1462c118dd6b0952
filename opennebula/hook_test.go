package opennebula

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/fixtures"
)

func TestParseKey(t *testing.T) {
	keys := map[string]HookKey{
		"EVENT STATE VM/DONE/LCM_INIT/21 ":   {Object: "vm", ID: 21, State: "DONE", LCMState: "LCM_INIT"},
		"EVENT STATE VM/DONE/LCM_INIT/21":    {Object: "vm", ID: 21, State: "DONE", LCMState: "LCM_INIT"},
		"EVENT STATE NET/READY//2 ":          {Object: "net", ID: 2, State: "READY"},
		"EVENT STATE HOST/MONITORED//0 ":     {Object: "host", ID: 0, State: "MONITORED"},
		"EVENT STATE HOST/ERROR/3 ":          {Object: "host", ID: 3, State: "ERROR"},
		"EVENT STATE IMAGE/READY//4 ":        {Object: "image", ID: 4, State: "READY"},
		"EVENT API one.vm.update 1":          {Object: "api", Call: "one.vm.update", OK: true},
		"EVENT API one.vm.update 0":          {Object: "api", Call: "one.vm.update"},
		"EVENT STATE VM/CLONING/LCM_INIT/1 ": {Object: "vm", ID: 1, State: "CLONING", LCMState: "LCM_INIT"},
	}
	for key, want := range keys {
		if got, err := ParseKey(key); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", key, got, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	keys := map[string]Reason{
		"": ReasonKey, "EVENT": ReasonKey, "EVENT STATE": ReasonKey, "EVENT VM": ReasonKey, "nonsense": ReasonKey,
		"EVENT STATE VM/ACTIVE/RUNNING": ReasonKey, "EVENT STATE VM//RUNNING/1 ": ReasonKey,
		"EVENT STATE VM/ACTIVE//1 ": ReasonKey, "EVENT STATE VM/ACTIVE/RUNNING/x ": ReasonKey,
		"EVENT STATE VM/ACTIVE/RUNNING/-1 ": ReasonKey, "EVENT STATE VM/ACTIVE/RUNNING/99999999999 ": ReasonKey,
		"EVENT STATE VM/A.B/*/1 ": ReasonKey, "EVENT STATE VM/>/RUNNING/1 ": ReasonKey, "EVENT STATE VM/a/b/1 ": ReasonKey,
		"EVENT SERVICE 7 ": ReasonKey, "EVENT VM 21/ACTIVE/RUNNING ": ReasonKey, "RETRY 12 ": ReasonKey, "EVENT API one.vm.update": ReasonKey,
		"EVENT API one.vm.update 2": ReasonKey, "EVENT API two.vm.update 1": ReasonKey,
		"EVENT NET 2/READY/ ": ReasonKey, "event state VM/DONE/LCM_INIT/1 ": ReasonKey,
		"EVENT STATE VROUTER/READY//1 ":                             ReasonObject,
		"EVENT STATE VM/ACTIVE/RUNNING/" + strings.Repeat("1", 600): ReasonKey,
	}
	for key, want := range keys {
		_, err := ParseKey(key)
		var decode *DecodeError
		if !errors.As(err, &decode) || decode.Reason != want {
			t.Errorf("%q: got %v, want %q", key, err, want)
		} else if len(decode.Key) > 130 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error is not one short line: %v", key, err)
		}
	}
}

// decodeEvent reads a hook event from its two frames.
func decodeEvent(key string, body []byte) (HookEvent, error) {
	parsed, err := ParseKey(key)
	if err != nil {
		return HookEvent{}, err
	}
	return new(EventDecoder).Decode(key, parsed, body)
}

func encoded(text string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(text))) }

func vmMessage(id int, user string) string {
	return fmt.Sprintf("<HOOK_MESSAGE><HOOK_TYPE>STATE</HOOK_TYPE><HOOK_OBJECT>VM</HOOK_OBJECT><STATE>ACTIVE</STATE><LCM_STATE>RUNNING</LCM_STATE>"+
		"<RESOURCE_ID>%d</RESOURCE_ID><REMOTE_HOST>host1</REMOTE_HOST><VM><ID>%d</ID>%s<STATE>3</STATE><LCM_STATE>3</LCM_STATE>"+
		"<TEMPLATE></TEMPLATE><USER_TEMPLATE>%s</USER_TEMPLATE></VM></HOOK_MESSAGE>", id, id, head, user)
}

const runningKey = "EVENT STATE VM/ACTIVE/RUNNING/7 "

func TestDecodeVMEvent(t *testing.T) {
	event, err := decodeEvent(runningKey, encoded(vmMessage(7, "<ROLE_NAME>web</ROLE_NAME><SERVICE_ID>42</SERVICE_ID><READY>YES</READY><NOTE>caf\xe9 & \x02</NOTE>")))
	if err != nil {
		t.Fatal(err)
	}
	want := one.VM{ID: 7, Name: "thing", Owner: headOwner, State: one.VMActive, LCMState: one.LCMRunning, Ready: true, Service: 42, Role: "web"}
	if *event.VM != want {
		t.Errorf("VM %+v", *event.VM)
	}
	event.VM = nil
	if event != (HookEvent{HookKey: HookKey{Object: "vm", ID: 7, State: "ACTIVE", LCMState: "RUNNING"}, Host: "host1"}) {
		t.Errorf("event %+v", event)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := string(encoded(vmMessage(7, "")))
	const netKey = "EVENT STATE NET/READY//2 "
	cases := []struct {
		name, key, body string
		want            Reason
	}{
		{"other form", "EVENT VM 7/ACTIVE/RUNNING ", whole, ReasonKey},
		{"unknown object", "EVENT STATE VROUTER/READY//1 ", whole, ReasonObject},
		{"not base64", runningKey, "<xml>", ReasonBase64},
		{"base64 cut off", runningKey, whole[:len(whole)-3], ReasonBase64},
		{"empty", runningKey, "", ReasonXML},
		{"XML cut off", runningKey, string(encoded(vmMessage(7, "")[:200])), ReasonXML},
		{"no VM", runningKey, string(encoded("<HOOK_MESSAGE></HOOK_MESSAGE>")), ReasonXML},
		{"bad number", runningKey, string(encoded("<HOOK_MESSAGE><VM><ID>x7</ID></VM></HOOK_MESSAGE>")), ReasonXML},
		{"other VM", "EVENT STATE VM/ACTIVE/RUNNING/8 ", whole, ReasonMismatch},
		{"too large", runningKey, strings.Repeat("A", MaxEventSize/3*4+8), ReasonSize},
		{"net without id", netKey, string(encoded("<HOOK_MESSAGE></HOOK_MESSAGE>")), ReasonMismatch},
		{"other net", netKey, string(encoded("<HOOK_MESSAGE><RESOURCE_ID>3</RESOURCE_ID></HOOK_MESSAGE>")), ReasonMismatch},
		{"net cut off", netKey, string(encoded("<HOOK_MESSAGE><RESOURCE_ID>2</RESOURCE")), ReasonXML},
		{"call without XML", updateKey, string(encoded("secret-in-a-body")), ReasonXML},
		{"other call", "EVENT API one.vm.action 1", string(encoded(updateMessage("7", "A=1", "1"))), ReasonMismatch},
		{"other result", "EVENT API one.vm.update 0", string(encoded(updateMessage("7", "A=1", "1"))), ReasonMismatch},
		{"no VM id", updateKey, string(encoded(updateMessage("seven", "A=1", "1"))), ReasonXML},
		{"no template", updateKey, string(encoded(strings.Replace(updateMessage("7", "A=1", "1"), "<POSITION>3", "<POSITION>9", 1))), ReasonXML},
	}
	for _, c := range cases {
		_, err := decodeEvent(c.key, []byte(c.body))
		var decode *DecodeError
		if !errors.As(err, &decode) || decode.Reason != c.want {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-in-a-body") {
			t.Errorf("%s: the error repeats the body: %v", c.name, err)
		}
	}
}

const updateKey = "EVENT API one.vm.update 1"

func updateMessage(id, template, how string) string {
	parameter := func(position int, direction, value string) string {
		return fmt.Sprintf("<PARAMETER><POSITION>%d</POSITION><TYPE>%s</TYPE><VALUE>%s</VALUE></PARAMETER>", position, direction, value)
	}
	return "<HOOK_MESSAGE><HOOK_TYPE>API</HOOK_TYPE><CALL>one.vm.update</CALL><CALL_INFO><RESULT>1</RESULT><PARAMETERS>" +
		parameter(1, "IN", "****") + parameter(2, "IN", id) + parameter(3, "IN", template) + parameter(4, "IN", how) +
		parameter(1, "OUT", "true") + parameter(2, "OUT", id) + parameter(3, "OUT", "0") +
		"</PARAMETERS><EXTRA></EXTRA></CALL_INFO></HOOK_MESSAGE>"
}

func TestReadyInUpdates(t *testing.T) {
	forged := `X="</VALUE></PARAMETER><PARAMETER><POSITION>4</POSITION><TYPE>IN</TYPE><VALUE>0</VALUE></PARAMETER>"`
	cases := []struct{ template, how, want string }{
		{"READY=YES\n", "1", "yes"},
		{"READY = \"YES\"", "1", "yes"},
		{"  ready\t=  'Yes'  \n", "1", "yes"},
		{"READY=NO", "1", "no"},
		{"READY=", "1", "no"},
		{"READY=YES\nREADY=NO", "1", "no"},
		{"A=1\nREADY=YES\nB=2", "1", "yes"},
		{"A=\"1\"  \nREADY=\"YES\"", "1", "yes"},
		{"# READY=NO\nREADY=YES", "1", "yes"},
		{"NOTE=\"a\nREADY=YES\nb\"", "1", "nothing"},
		{"NOTE=\"a\\\"\nREADY=YES\n\"", "1", "nothing"},
		{"V=[READY=YES,\nB=\"]\nREADY=YES\"]", "1", "nothing"},
		{"V=[A=1]\nREADY=YES", "1", "yes"},
		{"READYNESS=YES", "1", "nothing"},
		{"READY=YES # as oned reads it\nA=1", "1", "yes"},
		{"A=\"1\" -\n-READY = YES", "1", "yes"},
		{"READY=NO\n# READY=YES", "1", "no"},
		{"READY", "1", "nothing"},
		{"", "1", "nothing"},
		{"", "0", "no"},
		{"A=1", "0", "no"},
		{"READY=YES", "0", "yes"},
		{"A=\"x < y && z\"\nREADY=YES", "1", "yes"},
		{"A=caf\xe9\x00\nREADY=YES", "1", "yes"},
		{"<TEMPLATE><READY>YES</READY></TEMPLATE>", "1", "yes"},
		{" <TEMPLATE><READY><![CDATA[yes]]></READY></TEMPLATE>", "1", "yes"},
		{"<TEMPLATE><A><READY>YES</READY></A></TEMPLATE>", "1", "nothing"},
		{"<TEMPLATE><READY>YES</READY><B>a & b < c", "1", "yes"},
		{forged, "1", "nothing"},
		{forged + "\nREADY=YES", "1", "yes"},
	}
	for _, c := range cases {
		event, err := decodeEvent(updateKey, encoded(updateMessage("29", c.template, c.how)))
		if err != nil {
			t.Errorf("%q: %v", c.template, err)
			continue
		}
		got := "nothing"
		if event.Ready != nil {
			got = map[bool]string{true: "yes", false: "no"}[*event.Ready]
		}
		if got != c.want || event.ID != 29 || event.Object != "api" || !event.OK {
			t.Errorf("%q (%s): ready is %s, want %s; event %+v", c.template, c.how, got, c.want, event)
		}
	}
}

func TestFailedUpdateIsNotReady(t *testing.T) {
	body := strings.Replace(updateMessage("29", "READY=YES", "1"), "<RESULT>1", "<RESULT>0", 1)
	event, err := decodeEvent("EVENT API one.vm.update 0", encoded(body))
	if err != nil || event.Ready != nil || event.OK {
		t.Fatalf("got %+v, %v", event, err)
	}
}

func TestOtherCallsAreOnlyNamed(t *testing.T) {
	body := strings.ReplaceAll(updateMessage("29", "A=1", "1"), "one.vm.update", "one.vm.chown")
	event, err := decodeEvent("EVENT API one.vm.chown 1", encoded(body))
	if err != nil || event != (HookEvent{HookKey: HookKey{Object: "api", ID: 29, Call: "one.vm.chown", OK: true}}) {
		t.Fatalf("got %+v, %v", event, err)
	}
}

// A new document is known by what its call returned, whatever its text looks like.
func TestNewDocumentsAreNamedByTheirCalls(t *testing.T) {
	fake := "<PARAMETER><POSITION>2</POSITION><TYPE>OUT</TYPE><VALUE>7</VALUE></PARAMETER>"
	message := updateMessage("29", fake, "1")
	for body, want := range map[string]int{
		message: 29,
		strings.Replace(message, "<EXTRA>", "<EXTRA>"+fake, 1):    29,
		updateMessage("29", "</PARAMETERS><EXTRA>", "1"):          -1,
		updateMessage("2x", "", "1"):                              -1,
		strings.ReplaceAll(message, "<TYPE>OUT", "<TYPE>NOWHERE"): -1,
	} {
		for _, call := range []string{"one.document.allocate", "one.document.clone"} {
			event, err := decodeEvent("EVENT API "+call+" 1", encoded(strings.ReplaceAll(body, "one.vm.update", call)))
			if err != nil || event != (HookEvent{HookKey: HookKey{Object: "api", ID: want, Call: call, OK: true}}) {
				t.Errorf("%s: got %+v, %v; want %d", body, event, err, want)
			}
		}
	}
}

type recordedEvent struct {
	Key  string `json:"key"`
	Body string `json:"body_b64"`
}

// What a VM's event says is compared with what plain patterns find in it.
func TestRecordedEvents(t *testing.T) {
	pattern := regexp.MustCompile(`^EVENT STATE (VM|NET)/(\w+)/(\w*)/(\d+) $`)
	find := func(expression, text string) string {
		if match := regexp.MustCompile(expression).FindStringSubmatch(text); match != nil {
			return match[1]
		}
		return ""
	}
	carried := 0
	for _, line := range fixtures.Lines[recordedEvent](t, "zmq_events.jsonl") {
		if !strings.HasPrefix(line.Key, StateSubscription) && !strings.HasPrefix(line.Key, "EVENT API ") {
			continue // another form of the same event, which a bridge does not subscribe to
		}
		event, err := decodeEvent(line.Key, []byte(line.Body))
		if err != nil {
			t.Errorf("%q: %v", line.Key, err)
			continue
		}
		carried++
		body, _ := base64.StdEncoding.DecodeString(line.Body)
		text := string(body)
		match := pattern.FindStringSubmatch(line.Key)
		if match == nil {
			if event.Call == "one.vm.update" && (event.Ready == nil || !*event.Ready || strconv.Itoa(event.ID) != find(`OUT</TYPE><VALUE>(\d+)<`, text)) {
				t.Errorf("%q: %+v", line.Key, event)
			}
			continue
		}
		if event.State != match[2] || event.LCMState != match[3] || strconv.Itoa(event.ID) != match[4] {
			t.Errorf("%q: %+v", line.Key, event)
		}
		if match[1] != "VM" {
			continue
		}
		vm := event.VM
		if vm.State.String() != match[2] || vm.LCMState.String() != match[3] {
			t.Errorf("%q: the VM is in %v/%v", line.Key, vm.State, vm.LCMState)
		}
		service := find(`</RESOURCE_ID><SERVICE_ID>(\d+)<`, text)
		if service == "" {
			service = "-1"
		}
		if strconv.Itoa(vm.Service) != service || vm.Role != find(`<ROLE_NAME><!\[CDATA\[(.*?)\]\]></ROLE_NAME>`, text) ||
			vm.Ready != (find(`<READY><!\[CDATA\[(.*?)\]\]></READY>`, text) == "YES") || event.Host != find(`<REMOTE_HOST>(.*?)<`, text) {
			t.Errorf("%q: VM %+v on %q", line.Key, *vm, event.Host)
		}
	}
	if carried < 100 {
		t.Errorf("only %d events are carried on", carried)
	}
}
