package tenant

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/terminal"
)

// shown is a service in a state, as GET /services/3 answers.
func shown(state string) http.HandlerFunc {
	return answering(http.StatusOK, row(3, "web", "alice", state))
}

// sized is a service whose role web is to have so many VMs, with a log.
func sized(state string, wanted int, log ...string) http.HandlerFunc {
	return answering(http.StatusOK, fmt.Sprintf(`{"id":3,"state":%q,"roles":[{"name":"web","wanted":%d}],"log":[%s]}`, state, wanted, strings.Join(log, ",")))
}

func entry(severity, at, message string) string {
	return fmt.Sprintf(`{"time":"2026-11-28T%sZ","severity":%q,"message":%q}`, at, severity, message)
}

// What a change brings is told, and the command ends when the service is where it should be.
func TestWaitingForAChange(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /events":           events(turned(3, "RUNNING", "SCALING"), turned(3, "SCALING", "COOLDOWN"), turned(3, "COOLDOWN", "RUNNING")),
		"POST /service/3/scale": answering(http.StatusNoContent, ""),
		"GET /services/3":       inTurn(shown("SCALING"), shown("COOLDOWN"), shown("RUNNING")),
	})
	out := c.does("service", "scale", "3", "web", "2", "--wait")
	for _, want := range []string{"RUNNING -> SCALING", "SCALING -> COOLDOWN", "COOLDOWN -> RUNNING", "service 3: it is RUNNING\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q: %s", want, out)
		}
	}
	// Followed from before the change is made, so that nothing of it is missed.
	if first := c.requests[0]; first.path != "/events" {
		t.Errorf("the first request is %v", first)
	}
}

// How waiting ends: by what the service comes to, or by the time given.
func TestHowWaitingEnds(t *testing.T) {
	t.Parallel()
	settles := []string{turned(3, "WARNING", "RUNNING")}
	missing := refusing(http.StatusNotFound, "there is no service 3")
	for name, test := range map[string]struct {
		line   string
		states http.HandlerFunc
		events []string
		want   terminal.Exit
		say    string
	}{
		"it fails":                      {"service scale 3 web 2 --wait", shown("FAILED_SCALING"), []string{turned(3, "SCALING", "FAILED_SCALING")}, terminal.ExitTrouble, "service 3 is FAILED_SCALING: `flowjet service show 3` shows why"},
		"it is in WARNING":              {"service scale 3 web 2 --wait", shown("WARNING"), []string{turned(3, "RUNNING", "WARNING")}, terminal.ExitTrouble, "service 3 is WARNING"},
		"it is gone instead":            {"service scale 3 web 2 --wait", missing, nil, terminal.ExitTrouble, "service 3 is gone"},
		"it is gone, as it should be":   {"service undeploy 3 --wait", missing, []string{turned(3, "UNDEPLOYING", "DONE")}, 0, "it is gone"},
		"in WARNING on its way to gone": {"service undeploy 3 --wait", inTurn(shown("WARNING"), missing), []string{turned(3, "WARNING", "UNDEPLOYING"), turned(3, "UNDEPLOYING", "DONE")}, 0, "it is gone"},
		"a balancer knows no such page": {"service undeploy 3 --wait --timeout 300ms", answering(http.StatusNotFound, "<html>"), nil, terminal.ExitTimeout, "within 300ms"},
		"it fails to go":                {"service recover 3 --delete --wait", shown("FAILED_UNDEPLOYING"), []string{turned(3, "UNDEPLOYING", "FAILED_UNDEPLOYING")}, terminal.ExitTrouble, "is FAILED_UNDEPLOYING"},
		"the time is over":              {"service scale 3 web 2 --wait --timeout 300ms", shown("SCALING"), nil, terminal.ExitTimeout, "service 3 did not reach RUNNING within 300ms and continues"},
		"the API is away for a moment":  {"service scale 3 web 2 --wait", inTurn(refusing(http.StatusServiceUnavailable, "it starts"), shown("RUNNING")), []string{turned(3, "SCALING", "RUNNING")}, 0, "it is RUNNING"},
		"a deadline takes it back":      {"service scale 3 web 4 --wait", inTurn(sized("SCALING", 4, entry("I", "12:00:00", "scaling")), sized("RUNNING", 1, entry("I", "12:01:01", "New state"), entry("E", "12:01:00", "the scaling is reverted: 1 of 4 VMs stay"), entry("I", "12:00:00", "scaling"))), nil, terminal.ExitTrouble, "service 3 is RUNNING without the VMs asked for: the scaling is reverted: 1 of 4 VMs stay"},
		"a policy scales it afterwards": {"service scale 3 web 4 --wait", inTurn(sized("SCALING", 4, entry("I", "12:00:00", "scaling"), entry("E", "11:00:00", "old")), sized("RUNNING", 1, entry("I", "12:01:00", "scaling down"), entry("I", "12:00:00", "scaling"), entry("E", "11:00:00", "old"))), settles, 0, "it is RUNNING"},
		"it leaves WARNING":             {"service recover 3 --wait", inTurn(shown("WARNING"), shown("WARNING"), shown("RUNNING")), settles, 0, "it is RUNNING"},
		"it stays in WARNING":           {"service recover 3 --wait", shown("WARNING"), nil, terminal.ExitTrouble, "service 3 is WARNING"},
		"it may not be seen any more":   {"service scale 3 web 2 --wait", refusing(http.StatusForbidden, "not yours"), nil, terminal.ExitFailed, "not yours"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := answering(http.StatusNoContent, "")
			c := newCloud(t, map[string]http.HandlerFunc{
				"GET /events": events(test.events...), "GET /services/3": test.states,
				"POST /service/3/scale": done, "DELETE /service/3": done, "POST /service/3/action": done,
			})
			line := strings.Fields(test.line)
			if test.want != 0 {
				c.fails(test.want, test.say, line...)
			} else if out := c.does(line...); !strings.Contains(out, test.say) {
				t.Errorf("it says %q, want %q", out, test.say)
			}
		})
	}
}

// Events that are refused cost no time.
func TestWaitingWithoutEvents(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /events": refusing(http.StatusForbidden, "no events"), "GET /services/3": shown("RUNNING"),
		"POST /service/3/scale": answering(http.StatusNoContent, ""),
	})
	if out := c.does("service", "scale", "3", "web", "2", "--wait", "--timeout", "4s"); !strings.Contains(out, "it is RUNNING") {
		t.Errorf("it says %q", out)
	}
}

// A change that is queued is waited for, and one that is refused at last fails with the reason.
func TestWaitingForAQueuedChange(t *testing.T) {
	t.Parallel()
	queued := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/flowjet/v1/commands/X")
		w.WriteHeader(http.StatusAccepted)
	}
	command := func(state string) http.HandlerFunc {
		return answering(http.StatusOK, fmt.Sprintf(`{"id":"X","state":%q,"message":"the role has max_vms 2"}`, state))
	}
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /events": events(turned(3, "COOLDOWN", "RUNNING")), "POST /service/3/scale": queued, "GET /services/3": shown("RUNNING"),
		"GET /commands/X": inTurn(command("queued"), command("done"), command("refused")),
	})
	if out := c.does("service", "scale", "3", "web", "2", "--wait", "-o", "json"); !strings.Contains(out, `"state": "RUNNING"`) || !strings.Contains(out, `"queued": false`) || strings.Contains(out, "COOLDOWN") {
		t.Errorf("for scripts it is %s", out)
	}
	c.fails(terminal.ExitFailed, "the role has max_vms 2", "service", "scale", "3", "web", "2", "--wait")
}

// A service that is made is followed from its beginning: its id is known only from the answer.
func TestWaitingForANewService(t *testing.T) {
	t.Parallel()
	var since string
	following := events(turned(9, "PENDING", "DEPLOYING"), turned(9, "DEPLOYING", "RUNNING"))
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /templates":                  answering(http.StatusOK, `{"templates":[{"id":7,"name":"web"}]}`),
		"POST /service_template/7/action": answering(http.StatusCreated, `{"DOCUMENT":{"ID":"9","NAME":"bad\u001bname"}}`),
		"GET /services/9":                 answering(http.StatusOK, row(9, "web", "alice", "RUNNING")),
		"GET /events": func(w http.ResponseWriter, r *http.Request) {
			since = r.URL.Query().Get("service") + "/" + r.URL.Query().Get("since")
			following(w, r)
		},
	})
	out := c.does("template", "instantiate", "web", "--wait")
	if !strings.Contains(out, "PENDING -> DEPLOYING") || !strings.HasSuffix(out, "service 9 (bad\uFFFDname): it is RUNNING\n") || since != "9/0" {
		t.Errorf("followed from %q: %q", since, out)
	}
	c.answers["GET /services/9"] = answering(http.StatusOK, row(9, "web", "alice", "HOLD"))
	if out := c.does("template", "instantiate", "web", "--wait"); !strings.HasSuffix(out, "it is HOLD: `flowjet service release 9` starts its VMs\n") {
		t.Errorf("of VMs on hold it says %q", out)
	}
	broken := newCloud(t, map[string]http.HandlerFunc{
		"GET /templates":                  answering(http.StatusOK, `{"templates":[{"id":7,"name":"web"}]}`),
		"POST /service_template/7/action": answering(http.StatusCreated, `<html>`),
	})
	broken.fails(terminal.ExitFailed, "the answer has no id", "template", "instantiate", "web", "--wait")
}
