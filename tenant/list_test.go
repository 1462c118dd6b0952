package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/internal/testlog"
)

// Services in each form that -o has.
func TestServicesInEveryFormat(t *testing.T) {
	t.Parallel()
	unknown := `{"id":12,"name":"bad\u001b[2Jname","owner":"bob","group":"users","state":"PENDING","role_count":0,"wanted":3}`
	c := newCloud(t, map[string]http.HandlerFunc{"GET /services": list(row(3, "web", "alice", "RUNNING"), unknown)})
	for format, want := range map[string]string{
		"table": "ID  NAME         OWNER  STATE    RUNNING  ROLES\n3   web          alice  RUNNING  2/2      1\n12  bad\uFFFD[2Jname  bob    PENDING  ?/3      0\n",
		"wide":  "ID  NAME         OWNER  STATE    RUNNING  ROLES  GROUP  STARTED\n3   web          alice  RUNNING  2/2      1      users  -\n",
		"name":  "3\n12\n",
		"json":  "[\n  {\n    \"id\": 3,\n    \"name\": \"web\",",
		"yaml":  "- id: 3\n  name: web\n  owner: alice\n",
	} {
		if out := c.does("service", "list", "-o", format); !strings.HasPrefix(out, want) {
			t.Errorf("-o %s writes\n%s\nwant\n%s", format, out, want)
		}
	}
	c.fails(terminal.ExitFailed, "xml", "service", "list", "-o", "xml")
	var rows []schema.Row
	if err := json.Unmarshal([]byte(c.does("service", "list", "-o", "json")), &rows); err != nil || len(rows) != 2 || rows[1].Running != nil {
		t.Errorf("as JSON they are %+v, %v", rows, err)
	}
}

// Nothing is a sentence for people, and an empty list for scripts.
func TestNoServices(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{"GET /services": list(), "GET /templates": answering(http.StatusOK, `{"templates":[]}`)})
	for line, want := range map[string]string{
		"service list": "There are no such services.\n", "service list -o json": "[]\n", "service list -o name": "",
		"template list": "There are no service templates that you may see.\n", "template list -o json": "[]\n",
	} {
		if out := c.does(strings.Fields(line)...); out != want {
			t.Errorf("%s writes %q, want %q", line, out, want)
		}
	}
}

// The API searches words in names as well as owners: the user that is meant is one, and a
// state is meant by how it begins.
func TestServicesAreFiltered(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{"GET /services": list(
		row(3, "web", "bob", "RUNNING"), row(4, "bob", "alice", "RUNNING"), row(5, "mail", "bobby", "WARNING"), row(6, "dns", "bob", "FAILED_SCALING"),
	)})
	for line, want := range map[string]string{
		"service list -o name --owner bob":                  "3\n6\n",
		"service list -o name --owner bob --state failed":   "6\n",
		"service list -o name --state RUNNING,warning":      "3\n4\n5\n",
		"service list -o name --state COOLDOWN --owner bob": "",
	} {
		if out := c.does(strings.Fields(line)...); out != want {
			t.Errorf("%s writes %q, want %q", line, out, want)
		}
	}
	c.requests = nil
	c.does("service", "list", "--state", "FAILED", "--owner", "bob")
	if query := c.requests[0].query; !strings.Contains(query, "FAILED_DEPLOYING") || !strings.Contains(query, "FAILED_SCALING") || strings.Contains(query, "RUNNING") || !strings.Contains(query, "q=bob") {
		t.Errorf("the API is asked with %s", query)
	}
}

// watching runs a lister until what it writes is as wanted, and returns how it ends.
func (c *cloud) watching(format terminal.Format, owner, want string) error {
	c.t.Helper()
	api, err := client.New(client.Credentials{Endpoint: c.url, User: "alice", Password: "secret"})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(api.Close)
	var out testlog.Log
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- lister{&console{Console: terminal.New(&out, format), notes: &bytes.Buffer{}}, api, nil, owner}.watch(ctx)
	}()
	poll.Until(c.t, "the list to have\n"+want, func() bool { return out.String() == want || len(ended) > 0 })
	stop()
	err = <-ended
	if out.String() != want {
		c.t.Errorf("it writes\n%s\nwant\n%s", out.String(), want)
	}
	return err
}

// changing are events of services, one after the other.
func changing(ids ...int) http.HandlerFunc {
	var lines []string
	for _, id := range ids {
		lines = append(lines, turned(id, "A", "B"))
	}
	lines = append([]string{`{"service":3,"kind":"role","new":"RUNNING"}`, "no JSON"}, lines...)
	return events(lines...)
}

// The list goes on with each service that has changed, once for each change, and Ctrl-C is no failure.
func TestWatchingServices(t *testing.T) {
	t.Parallel()
	service := func(id int, state string) http.HandlerFunc {
		return answering(http.StatusOK, row(id, "web", "alice", state))
	}
	answers := func() map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{
			"GET /services":   list(row(3, "web", "alice", "RUNNING"), row(4, "mail", "alice", "UNDEPLOYING"), row(5, "dns", "alice", "RUNNING")),
			"GET /services/3": inTurn(service(3, "WARNING"), service(3, "WARNING"), service(3, "RUNNING")),
			"GET /services/4": refusing(http.StatusNotFound, "gone"),
			"GET /services/5": refusing(http.StatusForbidden, "not yours any more"),
			"GET /services/6": answering(http.StatusOK, row(6, "new", "bob", "PENDING")),
			"GET /services/7": refusing(http.StatusNotFound, "never seen"),
			"GET /events":     changing(3, 3, 4, 5, 6, 7, 3),
		}
	}
	first := "ID  NAME  OWNER  STATE        RUNNING  ROLES\n3   web   alice  RUNNING      2/2      1\n4   mail  alice  UNDEPLOYING  2/2      1\n5   dns   alice  RUNNING      2/2      1\n"
	want := first + "3   web   alice  WARNING      2/2      1\n4   mail  alice  DONE         0/2      1\n5   dns   alice  DONE         0/2      1\n"
	if err := newCloud(t, answers()).watching(terminal.Table, "", want+"6   new   bob    PENDING      2/2      1\n3   web   alice  RUNNING      2/2      1\n"); err != nil {
		t.Errorf("the watching ends with %v", err)
	}
	if err := newCloud(t, answers()).watching(terminal.Table, "alice", want+"3   web   alice  RUNNING      2/2      1\n"); err != nil {
		t.Errorf("the watching of alice's ends with %v", err)
	}
	if err := newCloud(t, answers()).watching(terminal.Name, "", "3\n4\n5\n3\n4\n5\n6\n3\n"); err != nil {
		t.Errorf("the watching of names ends with %v", err)
	}
}

// An API that is away for a moment does not end the watching, and what changed then is shown.
func TestWatchingOutlastsAnAPIThatIsAway(t *testing.T) {
	t.Parallel()
	away := refusing(http.StatusServiceUnavailable, "it starts")
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services":   list(row(3, "web", "alice", "RUNNING")),
		"GET /services/3": inTurn(away, away, answering(http.StatusOK, row(3, "web", "alice", "WARNING"))),
		"GET /events":     changing(3),
	})
	if err := c.watching(terminal.Name, "", "3\n3\n"); err != nil {
		t.Errorf("the watching ends with %v", err)
	}
}

// For scripts each row is an object of its own, and what fails ends the watching.
func TestWatchingServicesAsJSON(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services": list(row(3, "web", "alice", "RUNNING")), "GET /services/3": refusing(http.StatusInternalServerError, "it broke"), "GET /events": changing(3),
	})
	out, _, err := c.types("service", "list", "--watch", "-o", "json")
	if status, _ := terminal.ExitOf(err); err == nil || status != terminal.ExitFailed || strings.Count(out, "\n") != 1 || !json.Valid([]byte(out)) {
		t.Errorf("it writes %q and ends with %v", out, err)
	}
	c = newCloud(t, map[string]http.HandlerFunc{"GET /events": refusing(http.StatusUnauthorized, "Invalid credentials")})
	c.fails(terminal.ExitFailed, "does not accept the credentials", "service", "list", "--watch")
	c.fails(terminal.ExitUsage, "--state", "service", "list", "--watch", "--state", "HAPPY")
}

// detailed is a service with everything that is shown of one.
func detailed() string {
	var vms []string
	for id := range 22 {
		vms = append(vms, fmt.Sprintf(`{"id":%d,"state":"RUNNING","host":"h1","ips":["10.0.0.%d"],"error":""}`, 100+id, id))
	}
	vms[0] = `{"id":99,"state":"BOOT_FAILURE","error":"no space\u001b[2J at 2026-11-28T11:59:00Z"}`
	return `{"id":3,"name":"web\u001b[2J","owner":"alice","group":"users","state":"WARNING","permissions":"640","description":"A shop\u001b","deployment":"straight",
		"roles":[{"name":"front","state":"WARNING","wanted":22,"running":21,"vms":[` + strings.Join(vms, ",") + `],"heal":"recreate after 10s","healed":2,
			"policies":[{"when":"CPU > 50","type":"elastic","adjust":"+1"}],"inputs":[{"name":"SIZE","value":"4","description":"How large"}]},
			{"name":"back","state":"RUNNING","wanted":0,"running":0,"parents":["front"]}],
		"networks":[{"name":"Priv","from":"template_id","of":"5","id":"71"},{"name":"Pub"}],
		"inputs":[{"name":"ADMIN","type":"password","set":true,"value":""},{"name":"KEY","type":"password","set":false}],
		"log":[{"time":"2026-11-28T12:00:00Z","severity":"E","message":"it broke\u001b[2J"}]}`
}

const whyText = `{"state":"WARNING","since":"2026-11-28T12:00:00Z","failed":[{"message":"VM 99 is in BOOT_FAILURE","role":"front","vm":99}],"waits":[{"message":"a VM\u001b"}],
	"reason":"hidden by what failed","next":["` + "`oneflow recover 3`" + ` repeats it"],"oned_away":"it does not answer"}`

// A service for people: what is wrong, why, and what to do, as somebody without OneFlow's
// commands can type it.
func TestShowingAService(t *testing.T) {
	t.Parallel()
	show := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"tag"`)
		fmt.Fprint(w, detailed())
	}
	c := newCloud(t, map[string]http.HandlerFunc{"GET /services/3": show, "GET /services/3/why": answering(http.StatusOK, whyText)})
	out := c.does("service", "show", "3")
	wide := c.does("service", "show", "3", "-o", "wide")
	for _, want := range []string{
		"Service 3  web\uFFFD[2J\n", "owner       alice (group users)\n", "permissions 640 (um- u-- ---)\n", "state       WARNING for ", "failed      VM 99 is in BOOT_FAILURE (role front)\n",
		"waits for   a VM\uFFFD\n", "what to do  `flowjet service recover 3` repeats it\n", "OpenNebula does not answer: VMs are as last heard", "description A shop\uFFFD\n", "deployment  straight\n",
		"front  WARNING  21/22    -\n", "back   RUNNING  0/0      front\n", "99 ", "no space\uFFFD[2J", "it broke\uFFFD[2J",
	} {
		for form, text := range map[string]string{"table": out, "wide": wide} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", form, want, text)
			}
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "hidden by") || strings.Contains(out, `"tag"`) || strings.Contains(out, "121 ") || !strings.Contains(out, "and 2 more  front") {
		t.Errorf("the table has too much, or too little:\n%s", out)
	}
	for _, want := range []string{"121 ", `ETag        "tag"`, "Priv", "71", "template_id 5", "(set)", "recreate after 10s", "healed in the last hour: 2", "CPU > 50", "elastic +1", "How large"} {
		if !strings.Contains(wide, want) {
			t.Errorf("-o wide lacks %q:\n%s", want, wide)
		}
	}
	var object client.Service
	if err := json.Unmarshal([]byte(c.does("service", "show", "3", "-o", "json")), &object); err != nil || object.ETag != `"tag"` || len(object.Roles[0].VMs) != 22 {
		t.Errorf("as JSON it is %+v, %v", object, err)
	}
}

// Without the reasons the service is shown all the same.
func TestShowingAServiceWithoutReasons(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services/3": answering(http.StatusOK, row(3, "web", "alice", "RUNNING")), "GET /services/3/why": refusing(http.StatusInternalServerError, "NATS is away"),
		"GET /services/4/why": answering(http.StatusOK, `{"state":"COOLDOWN","reason":"it has scaled"}`), "GET /services/4": answering(http.StatusOK, row(4, "web", "alice", "COOLDOWN")),
	})
	if out := c.does("service", "show", "3"); !strings.Contains(out, "state       RUNNING\n") {
		t.Errorf("it writes %s", out)
	}
	if out := c.does("service", "show", "4"); !strings.Contains(out, "because     it has scaled\n") {
		t.Errorf("it writes %s", out)
	}
	c.fails(terminal.ExitNotFound, "GET /services/5 is not there", "service", "show", "5")
}

// Following one service ends by itself when the service has.
func TestWatchingAService(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services/3":     answering(http.StatusOK, row(3, "web", "alice", "UNDEPLOYING")),
		"GET /services/3/why": answering(http.StatusOK, `{"state":"UNDEPLOYING"}`),
		"GET /events":         events(`{"service":3,"kind":"vm","vm":7,"role":"front","new":"ended\u001b","time":"2026-11-28T12:00:00Z"}`, turned(3, "UNDEPLOYING", "DONE")),
	})
	out := c.does("service", "show", "3", "--watch")
	if !strings.Contains(out, "  role front: VM 7 ended\uFFFD\n") || !strings.HasSuffix(out, "UNDEPLOYING -> DONE\n") {
		t.Errorf("it writes %s", out)
	}
	lines := strings.Split(strings.TrimSpace(c.does("service", "show", "3", "--watch", "-o", "json")), "\n")
	if len(lines) != 3 {
		t.Fatalf("as JSON it writes %q", lines)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no object on its own line", line)
		}
	}
}

func TestPermissionsInWords(t *testing.T) {
	t.Parallel()
	for octet, want := range map[string]string{"600": "600 (um- --- ---)", "777": "777 (uma uma uma)", "000": "000 (--- --- ---)", "": " ()"} {
		if got := permissions(octet); got != want {
			t.Errorf("%q is %q, want %q", octet, got, want)
		}
	}
}
