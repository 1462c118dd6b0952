package tenant

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/terminal"
)

// A script tells by the exit status what to do next: repair its command line, look elsewhere,
// try later, or give up.
func TestTheAPIsAnswersHaveTheirExitStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]terminal.Exit{
		http.StatusBadRequest:            terminal.ExitUsage,
		http.StatusUnprocessableEntity:   terminal.ExitUsage,
		http.StatusRequestEntityTooLarge: terminal.ExitUsage,
		http.StatusNotFound:              terminal.ExitNotFound,
		http.StatusUnauthorized:          terminal.ExitFailed,
		http.StatusForbidden:             terminal.ExitFailed,
		http.StatusConflict:              terminal.ExitFailed,
		http.StatusPreconditionFailed:    terminal.ExitFailed,
		http.StatusInternalServerError:   terminal.ExitFailed,
		http.StatusTooManyRequests:       terminal.ExitUnreachable,
		http.StatusServiceUnavailable:    terminal.ExitUnreachable,
		http.StatusBadGateway:            terminal.ExitUnreachable,
		http.StatusGatewayTimeout:        terminal.ExitUnreachable,
	} {
		c := newCloud(t, map[string]http.HandlerFunc{"POST /service/3/scale": refusing(status, "the reason is this")})
		c.fails(want, "the reason is this", "service", "scale", "3", "web", "2")
		if made := c.changes(); len(made) != 1 {
			t.Errorf("a change that was refused with %d is sent %d times", status, len(made))
		}
	}
}

// An API that is not there, and what is no API, are told apart from a refusal.
func TestWhatIsNoAPI(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services":    answering(http.StatusOK, "<html>"),
		"GET /templates":   answering(http.StatusBadGateway, "<html>"),
		"GET /services/3":  answering(http.StatusOK, `{"id": "three"}`),
		"GET /services/7":  answering(http.StatusNotFound, "<html>"),
		"DELETE /service/": answering(http.StatusOK, ""),
	})
	c.fails(terminal.ExitFailed, "is not a Flowjet API", "service", "list")
	c.fails(terminal.ExitUnreachable, "it answers with status 502", "template", "list")
	c.fails(terminal.ExitFailed, "is not a Flowjet API", "service", "show", "3")
	c.fails(terminal.ExitUnreachable, "it answers with status 404", "service", "show", "7")
	c.url = "http://127.0.0.1:1"
	c.fails(terminal.ExitUnreachable, "set another with --endpoint or ONEFLOW_URL", "service", "list")
	c.fails(terminal.ExitUnreachable, "does not answer", "service", "undeploy", "3")
	c.url = "ftp://example.com"
	c.fails(terminal.ExitUsage, "is not the address of an API", "service", "list")
}

// Wrong credentials name the user, and never the password.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{"GET /services": refusing(http.StatusUnauthorized, "Invalid credentials")})
	c.fails(terminal.ExitFailed, `does not accept the credentials of user "alice"`, "service", "list")
	for name, line := range map[string][]string{
		"no file":   {"service", "list", "--auth-file", "/nowhere/auth"},
		"no pair":   {"service", "list", "--auth-file", c.file("auth", "alice\n")},
		"two lines": {"service", "list", "--auth-file", c.file("auth", "alice:secret\nbob:secret\n")},
	} {
		// The last flag of a name counts: the test's own comes first here.
		_, _, err := c.typesRaw(append([]string{line[0], line[1], "--endpoint", c.url}, line[2:]...)...)
		if status, _ := terminal.ExitOf(err); status != terminal.ExitUsage || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v, exit %d", name, err, status)
		}
	}
}

// What is wrong with a command line is found before anything is sent, and named with the
// value that was given.
func TestWrongCommandLinesSendNothing(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services":  list(row(3, "web", "alice", "RUNNING")),
		"GET /templates": answering(http.StatusOK, `{"templates":[{"id":7,"name":"web","roles":[{"name":"front","cardinality":1}]}]}`),
	})
	list, two := c.file("list.yaml", "- a\n- b\n"), c.file("two.yaml", "name: a\n---\nname: b\n")
	for _, test := range []struct {
		line, want string
	}{
		{"service scale web front many", `NUMBER is "many"`},
		{"service scale web front 1.5", `NUMBER is "1.5"`},
		{"service scale web front -- -1", `NUMBER is "-1"`},
		{"service action web dance", `ACTION is "dance"`},
		{"service action web reboot --number 0", "--number is 0"},
		{"service action web reboot --period 1h30", `--period is "1h30"`},
		{"service action web reboot --period 1500ms", `--period is "1500ms"`},
		{"service action web reboot --period=-5", `--period is "-5"`},
		{"service sched-delete web first", `ID is "first"`},
		{"service sched-delete web front -- -1", `ID is "-1"`},
		{"service list --state HAPPY", `--state is "HAPPY"`},
		{"service update web /nowhere/new.yaml", "no such file"},
		{"service update web " + list, "is not an object in YAML or JSON"},
		{"service add-role web " + list, "is not an object in YAML or JSON"},
		{"template create " + list, "is not an object in YAML or JSON"},
		{"template create " + two, "it has a second document"},
		{"template instantiate web --cardinality front", `--cardinality is "front"`},
		{"template instantiate web --cardinality front=-1", `--cardinality is "front=-1"`},
		{"template instantiate web --cardinality back=1", `no role "back"`},
		{"template instantiate web --network public", `--network is "public"`},
		{"template instantiate web --network public=5", `--network is "public=5"`},
		{"template instantiate web --network public=name:5", `--network is "public=name:5"`},
		{"template instantiate web --network public=id:five", `--network is "public=id:five"`},
		{"template instantiate web --input SIZE", `--input is "SIZE"`},
		{"template instantiate web --input-file SIZE", `--input-file is "SIZE"`},
		{"template instantiate web --input-file SIZE=/nowhere/size", "read the value of SIZE"},
		{"template instantiate web --input SIZE=1", `no user input "SIZE"`},
	} {
		c.fails(terminal.ExitUsage, test.want, strings.Fields(test.line)...)
	}
	if sent := c.changes(); len(sent) > 0 {
		t.Errorf("it sends %v", sent)
	}
}

// A name stands for the one thing that has it, whatever page it is on, and never for another
// whose name only contains it.
func TestNamesAreFound(t *testing.T) {
	t.Parallel()
	var pages []http.HandlerFunc
	for first := 0; first < 400; first += 200 {
		var rows []string
		for id := first; id < first+200; id++ {
			rows = append(rows, row(id, fmt.Sprintf("web%d", id), "alice", "RUNNING"))
		}
		pages = append(pages, answering(http.StatusOK, `{"total":402,"services":[`+strings.Join(rows, ",")+`]}`))
	}
	pages = append(pages, answering(http.StatusOK, `{"total":402,"services":[`+row(400, "web", "alice", "RUNNING")+","+row(401, "my web", "bob", "RUNNING")+`]}`))
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services":       inTurn(pages...),
		"DELETE /service/400": answering(http.StatusNoContent, ""),
	})
	if out := c.does("service", "undeploy", "web"); out != "service 400: it is being undeployed\n" {
		t.Errorf("it says %q", out)
	}
	for i, want := range []string{"offset=0", "offset=200", "offset=400"} {
		if query := c.requests[i].query; !strings.Contains(query, want) || !strings.Contains(query, "q=web") {
			t.Errorf("page %d is asked for with %s", i, query)
		}
	}
}

func TestNamesThatAreNoOnesOrOfSeveral(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services":  list(row(3, "web", "alice", "RUNNING"), row(5, "web", "bob", "FAILED_DEPLOYING"), row(6, "webs", "bob", "RUNNING")),
		"GET /templates": answering(http.StatusOK, `{"templates":[{"id":7,"name":"web"},{"id":8,"name":"web"}]}`),
	})
	c.fails(terminal.ExitUsage, `"web" is the name of several (3, 5)`, "service", "undeploy", "web")
	c.fails(terminal.ExitUsage, `"web" is the name of several (7, 8)`, "template", "delete", "web")
	c.fails(terminal.ExitNotFound, `there is no service "shop" that you may see`, "service", "recover", "shop", "--delete")
	c.fails(terminal.ExitNotFound, `there is no service template "shop"`, "template", "instantiate", "shop")
	c.fails(terminal.ExitNotFound, "there is no service template 9", "template", "instantiate", "9")
	if sent := c.changes(); len(sent) > 0 {
		t.Errorf("it changes something by a name that is not clear: %v", sent)
	}
}

// What cannot be sent or read is the command line's fault, not the API's.
func TestWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	c.fails(terminal.ExitUsage, "must not contain control characters", "service", "scale", "3", "web", "2", "--idempotency-key", "a\nb")
	c.fails(terminal.ExitUsage, "must not contain control characters", "service", "scale", "3", "web", "2", "--if-match", "\"a\r\"")
	c.fails(terminal.ExitUsage, "is a directory", "template", "create", t.TempDir())
}
