package sim_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/sim"
)

// TestFinalRefusals are those that no waiting mends, whatever their code.
func TestFinalRefusals(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	id := runningVM(t, s)
	newRouter(t, s)
	extra := func(text string) []any { return []any{0, "vm", false, text, false} }
	for _, one := range []struct {
		method     string
		parameters []any
		code       int
		text       string
	}{
		{"one.template.instantiate", extra("CONTEXT=[A B=\"1\"]"), 0x2000,
			"Parse error: syntax error, unexpected VARIABLE, expecting EQUAL at line 0, columns 12:13"},
		{"one.vntemplate.instantiate", []any{0, "n", "AR=[TYPE=IP4,IP"}, 0x2000,
			"Parse error: syntax error, unexpected $end, expecting EQUAL at line 0, columns 14:16"},
		{"one.vn.reserve", []any{0, "SIZE=[5"}, 0x0800,
			"Parse error: syntax error, unexpected $end, expecting EQUAL at line 0, columns 7:8"},
		{"one.template.instantiate", extra("A=\"x]]>y\""), 0x2000, "Parse error."},
		{"one.document.allocate", []any{"<TEMPLATE><BODY>a]]&gt;b</BODY></TEMPLATE>", 100}, 0x2000,
			"Error transforming the Document to XML."},
		{"one.template.instantiate", extra("MEMORY=\"x\""), 0x4000,
			"Error allocating a new virtual machine template. MEMORY attribute must be a positive integer value."},
		{"one.template.instantiate", []any{1, "vm", false, "", false}, 0x0800, "Virtual router templates cannot be instantiated"},
		{"one.template.instantiate", []any{1, "vm", false, "VROUTER=\"NO\"", false}, 0x0800, "Virtual router templates cannot be instantiated"},
		{"one.vrouter.instantiate", []any{0, 1, 0, "a%i", false, "VROUTER=\"YES\""}, 0x0800, "Only virtual router templates are allowed"},
		{"one.template.instantiate", []any{0, "a>b", false, "", false}, 0x4000,
			"Error allocating a new virtual machine template. Invalid NAME, char '>' is not allowed"},
		{"one.vn.reserve", []any{0, "SIZE=5"}, 0x0800, "NAME for reservation has to be set"},
		{"one.vn.reserve", []any{0, "NAME=x"}, 0x0800, "Reservation SIZE must be a greater than 0"},
		{"one.vn.reserve", []any{0, "SIZE=5\nNAME=\"a>b\""}, 0x2000, "Invalid NAME, char '>' is not allowed"},
		{"one.vntemplate.instantiate", []any{0, "private", ""}, 0x4000,
			"Error allocating a new virtual network template. NAME is already taken by NET 0."},
		{"one.template.instantiate", extra("CPU=\"0\""), 0x4000,
			"Error allocating a new virtual machine template. CPU attribute must be a positive float or integer value."},
		{"one.template.instantiate", extra("VCPU=\"x\""), 0x4000,
			"Error allocating a new virtual machine template. VCPU attribute must be a positive integer value."},
		{"one.template.instantiate", extra("NIC=[NETWORK=\"nowhere\"]"), 0x4000, "Error allocating a new virtual machine template. " +
			"User 0 does not own a network with name: nowhere . Set NETWORK_UNAME or NETWORK_UID of owner in NIC."},
		{"one.template.instantiate", extra("NIC=[NETWORK_ID=\"777\"]"), 0x4000,
			"Error allocating a new virtual machine template. Virtual network with ID: 777 does not exist"},
		{"one.template.instantiate", extra("NIC=[NETWORK_ID=\"$typo\"]"), 0x4000,
			"Error allocating a new virtual machine template. Virtual network with ID: $typo does not exist"},
		{"one.template.instantiate", extra("CONTEXT=[A=\"$(x)\"]"), 0x4000, "Error allocating a new virtual machine template. " +
			"Error parsing: A=$(x). syntax error, unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 1:2"},
		{"one.template.instantiate", extra("SCHED_REQUIREMENTS=\"A = ${x}\""), 0x4000, "Error allocating a new virtual machine template. " +
			"Error parsing: A = ${x}. syntax error, unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 1:2"},
		{"one.template.instantiate", extra("CONTEXT=[2Q=\"1\"]"), 0x4000,
			"Error allocating a new virtual machine template. Error transforming the VM to XML."},
		{"one.template.clone", []any{0, "a>b"}, 0x2000, "Invalid NAME, char '>' is not allowed"},
		{"one.template.clone", []any{0, "alpine"}, 0x2000, "NAME is already taken by TEMPLATE 0."},
		{"one.vrouter.allocate", []any{"NAME=\"a>\""}, 0x2000, "Invalid NAME, char '>' is not allowed"},
		{"one.vrouter.instantiate", []any{0, 1, 0, "a%i", false, ""}, 0x0800, "Only virtual router templates are allowed"},
		{"one.vrouter.instantiate", []any{0, 1, 1, "a%i", false, "MEMORY=x"}, 0x4000,
			"Error allocating a new virtual router. MEMORY attribute must be a positive integer value."},
		{"one.vm.schedadd", []any{id, "A=1"}, 0x0800, "No SCHED_ACTION attribute in template"},
		{"one.vm.update", []any{id, "A=\"]]>\"", 1}, 0x0800, "Parse error."},
		{"one.vm.rename", []any{id, "a>b"}, 0x0800, "Invalid NAME, char '>' is not allowed"},
		{"one.vm.recover", []any{id, 9}, 0x0800, "Wrong recovery operation code"},
		{"one.vm.action", []any{"explode", id}, 0x0800, "Action \"explode\" is not supported"},
	} {
		r := call(t, s, one.method, append([]any{oneadmin}, one.parameters...)...)
		if want := "[" + one.method + "] " + one.text; r.ok || r.code != one.code || r.text != want {
			t.Errorf("%s%v: %#x %s\nwant %#x %s", one.method, one.parameters, r.code, r.text, one.code, want)
		}
	}
}

// The values that stand for variables of a context, as seen of oned 7.4.
func TestVariablesOfAContext(t *testing.T) {
	s := start(t, sim.Config{})
	for value, want := range map[string]string{
		"$RAM-$ram": "v$NAME-v$NAME", `\$RAM`: `\$RAM`, `\\$RAM`: `\\v$NAME`, `\$(x)`: `\$(x)`, "$RAM[A]": "", "$2A": "", "$1.RAM": ".RAM",
		"$NETWORK[DNS, NETWORK_ID=0]": "", "$RAM$RAM.": "v$NAMEv$NAME.", "a=b,c#": "a=b,c#",
	} {
		id := instantiate(t, s, "vm", "RAM=\"v$NAME\"\nCONTEXT=[P=\""+value+"\"]")
		if info := must(t, s, "one.vm.info", oneadmin, id).text; !strings.Contains(info, "<P><![CDATA["+want+"]]></P>") {
			t.Errorf("%q is not %q in %s", value, want, info)
		}
	}
	id := instantiate(t, s, "vm", "VROUTER=\"YES\"") // only its template makes a VM a router's
	if info := must(t, s, "one.vm.info", oneadmin, id).text; !strings.Contains(info, "<VROUTER>") {
		t.Errorf("the VM shows %s", info)
	}
}

func TestNamesAreMended(t *testing.T) {
	s := start(t, sim.Config{})
	id := instantiate(t, s, "vm", "2nd_dns=\"1\"\n-plain=\"2\"")
	info := must(t, s, "one.vm.info", oneadmin, id).text
	if !strings.Contains(info, "<ONE_2ND_DNS>") || !strings.Contains(info, "<PLAIN>") {
		t.Errorf("the VM shows %s", info)
	}
}

// refusedActions are the states in which oned 7.4 refuses an action.
var refusedActions = map[string][]string{
	"PENDING":   {"poweroff", "suspend", "stop", "undeploy", "reboot", "reboot-hard", "resume", "release", "resched"},
	"HOLD":      {"poweroff", "suspend", "stop", "undeploy", "reboot", "resume", "hold"},
	"BOOT":      {"terminate", "terminate-hard", "poweroff", "poweroff-hard", "suspend", "stop", "undeploy", "reboot", "hold", "release", "resume"},
	"HOTPLUG":   {"terminate", "terminate-hard", "poweroff", "undeploy-hard", "reboot-hard", "resume"},
	"RUNNING":   {"hold", "release", "resume"},
	"UNKNOWN":   {"suspend", "stop", "reboot", "reboot-hard", "hold"},
	"POWEROFF":  {"poweroff", "poweroff-hard", "suspend", "stop", "reboot", "hold", "release"},
	"SHUTDOWN":  {"terminate", "poweroff", "resume"},
	"SUSPENDED": {"poweroff", "suspend", "undeploy", "reboot"},
}

func TestActionsRefusedInAState(t *testing.T) {
	for state, actions := range refusedActions {
		t.Run(state, func(t *testing.T) {
			s := start(t, sim.Config{BootDelay: sim.NoDelay})
			id := vmIn(t, s, state)
			for _, name := range actions {
				want := "This action is not available for state " + state
				if strings.HasPrefix(name, "terminate") {
					want = "Could not terminate VM 0, wrong state " + state + "."
				}
				r := call(t, s, "one.vm.action", oneadmin, name, id)
				if want = "[one.vm.action] Error performing action \"" + name + "\": " + want; r.code != 0x0800 || r.text != want {
					t.Errorf("%#x %s\nwant %s", r.code, r.text, want)
				}
			}
			if got := stateOf(s, id); got != state {
				t.Errorf("it became %s", got)
			}
		})
	}
}

// vmIn makes a VM that stays in a state.
func vmIn(t *testing.T, s *sim.Sim, state string) int {
	t.Helper()
	switch state {
	case "PENDING":
		s.SetBootDelay(time.Hour)
		return instantiate(t, s, "vm", "")
	case "HOLD":
		return must(t, s, "one.template.instantiate", oneadmin, 0, "vm", true, "", false).id(t)
	}
	id := runningVM(t, s)
	switch state {
	case "BOOT", "HOTPLUG", "SHUTDOWN":
		s.SetBootDelay(time.Hour)
		if err := s.BreakVM(id, state); err != nil {
			t.Fatal(err)
		}
	case "UNKNOWN":
		if err := s.LoseVM(id); err != nil {
			t.Fatal(err)
		}
	case "POWEROFF":
		must(t, s, "one.vm.action", oneadmin, "poweroff", id)
	case "SUSPENDED":
		must(t, s, "one.vm.action", oneadmin, "suspend", id)
	}
	awaitState(t, s, id, state)
	return id
}

func TestHeadersAreOneds(t *testing.T) {
	s := start(t, sim.Config{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint(),
		strings.NewReader(requestBody("one.system.version", oneadmin)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	at, err := time.Parse(time.RFC1123, response.Header.Get("Date"))
	if err != nil || !strings.HasSuffix(response.Header.Get("Date"), " UTC") || time.Since(at).Abs() > time.Minute {
		t.Errorf("Date is %q (%v)", response.Header.Get("Date"), err)
	}
	if got := response.Header.Get("Server"); got != "Xmlrpc-c_Abyss/1.33.14" {
		t.Errorf("Server is %q", got)
	}
}
