package restapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/servertoken"
)

// clientExchange is one recorded call of a client of OneFlow 7.4.
type clientExchange struct {
	Client      string            `json:"client"`
	Step        string            `json:"step"`
	Method      string            `json:"method"`
	Path        string            `json:"path"`
	Headers     map[string]string `json:"request_headers"`
	User        string            `json:"user"`
	Request     *string           `json:"request_body"`
	Status      int               `json:"status"`
	ContentType *string           `json:"content_type"`
	Response    string            `json:"response_body"`
}

// TestClients replays every recorded call of the clients in order, each client's as one scenario against a whole
// Flowjet over the simulator: the status and the shape of the JSON are as recorded, or are listed as different.
func TestClients(t *testing.T) {
	lines := map[string][]int{}
	recorded := fixtures.Lines[clientExchange](t, "clients.jsonl")
	for i, call := range recorded {
		lines[call.Client] = append(lines[call.Client], i+1)
	}
	for _, client := range []string{"goca-test", "goca", "cli", "sunstone", "onegate"} {
		t.Run(client, func(t *testing.T) {
			r := newClientReplay(t, recorded)
			for _, line := range lines[client] {
				call := recorded[line-1]
				for _, difference := range r.line(line, call) {
					t.Errorf("line %d (%s): %s %s: %s", line, call.Step, call.Method, call.Path, difference)
				}
			}
		})
	}
	total := 0
	for _, each := range lines {
		total += len(each)
	}
	if total != len(recorded) {
		t.Errorf("%d of %d recorded calls were replayed", total, len(recorded))
	}
}

// clientReplay sends the recorded calls of one client.
type clientReplay struct {
	*replay
	w        *world
	recorded []clientExchange
}

func newClientReplay(t *testing.T, recorded []clientExchange) *clientReplay {
	w := newWorld(t, Config{ActionPeriod: time.Minute})
	w.whole()
	r := &replay{
		t: t, url: w.url, oned: w.oned.For("oneadmin"), documents: map[string]string{}, vms: map[string]string{},
		client: &http.Client{Timeout: time.Minute},
	}
	t.Cleanup(r.client.CloseIdleConnections)
	return &clientReplay{replay: r, w: w, recorded: recorded}
}

// users are the ids of the recording's users here.
var recordedUsers = regexp.MustCompile(`("owner_id"\s*:\s*"?)4\b`)

// recordedVMTemplates are ids of VM templates that the recorder had made by hand.
var recordedVMTemplates = regexp.MustCompile(`("template_id\\?"\s*:\s*)(4|5|10|306)\b`)

// translated is a recorded call for this world.
func (r *clientReplay) translated(call clientExchange) exchange {
	auth := map[string]string{"oneadmin": admin, "alice": alice}[call.User]
	if target, server := strings.CutPrefix(call.User, "serveradmin:"); server {
		name, password, _ := strings.Cut(r.w.sim.ServerCredentials(), ":")
		auth = servertoken.Session(name, password, target, time.Now().Add(time.Hour))
	}
	if call.Status == http.StatusUnauthorized && call.Response == "Invalid credentials" {
		auth = "alice:wrong" // the recording has no secrets
	}
	made := exchange{Name: call.Step, Method: call.Method, Path: call.Path, Auth: auth, Status: call.Status, ContentType: call.ContentType, Response: call.Response}
	if call.Request != nil {
		body := recordedUsers.ReplaceAllString(*call.Request, "${1}2")
		body = recordedVMTemplates.ReplaceAllString(body, "${1}0")
		made.Request = &body
	}
	return made
}

// withOurs puts what only Flowjet can know about the document in the place of what was recorded, in a body that has it
// because the client had read it.
func (r *clientReplay) withOurs(asked *exchange) {
	var given, ours map[string]any
	got := r.send(exchange{Method: http.MethodGet, Path: asked.Path, Auth: admin})
	var read map[string]map[string]any
	if got.status != http.StatusOK || json.Unmarshal([]byte(*asked.Request), &given) != nil || json.Unmarshal([]byte(got.body), &read) != nil {
		return
	}
	ours = read["DOCUMENT"]["TEMPLATE"].(map[string]any)["BODY"].(map[string]any)
	overlay := func(given, ours map[string]any, names ...string) {
		for _, name := range names {
			if number, isNumber := given[name].(float64); given[name] != nil && !(isNumber && number < 10) {
				given[name] = ours[name]
			}
		}
	}
	overlay(given, ours, "registration_time", "start_time", "log")
	roles, _ := given["roles"].([]any)
	held, _ := ours["roles"].([]any)
	for i := range min(len(roles), len(held)) {
		overlay(roles[i].(map[string]any), held[i].(map[string]any), "nodes")
	}
	text, err := json.Marshal(given)
	if err != nil {
		r.t.Fatal(err)
	}
	body := string(text)
	asked.Request = &body
}

var serviceCall = regexp.MustCompile(`^/service/(\d+)`)

// line makes a call, and returns how the answer differs from what is expected.
func (r *clientReplay) line(line int, call clientExchange) []string {
	r.before(line)
	asked := r.translated(call)
	if parts := serviceCall.FindStringSubmatch(call.Path); parts != nil && call.Method != http.MethodGet {
		r.rest(parts[1])
	}
	if call.Method == http.MethodPut {
		r.withOurs(&asked)
	}
	want := call.Status
	if meant, differs := clientDifferences[line]; differs {
		if want = meant.status; want == call.Status {
			r.t.Errorf("line %d is listed as different and is not", line)
		}
	}
	got := r.send(asked)
	if call.Method == http.MethodGet {
		got = r.awaited(asked, want, got)
	}
	if got.status != want {
		return []string{fmt.Sprintf("got %d, expected %d: %.300s", got.status, want, got.body)}
	}
	if want == call.Status {
		return r.shapes(asked, got)
	}
	return nil
}

// rest waits until a service does nothing: the recorder did before he changed one.
func (r *clientReplay) rest(recorded string) {
	if _, known := r.documents[recorded]; !known {
		return
	}
	poll.Until(r.t, "service "+recorded+" to rest", func() bool {
		body, found := r.service(recorded)
		return !found || body.State == nil || !body.State.Waiting() || *body.State == spec.ServiceHold
	})
}

// awaited repeats a look until it is as it was recorded: the recording has no repeated ones.
func (r *clientReplay) awaited(asked exchange, status int, got reply) reply {
	if passing(stateIn(asked.Response)) && status == http.StatusOK {
		return got
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for got.status != status || status == http.StatusOK && (stateIn(got.body) != stateIn(asked.Response) || len(r.shapes(asked, got)) > 0) {
		select {
		case <-tick.C:
			got = r.send(asked)
		case <-limit.C:
			return got
		}
	}
	return got
}

// shapes compares the keys and types of an answer with the recorded one's.
func (r *clientReplay) shapes(asked exchange, got reply) []string {
	contentType := ""
	if asked.ContentType != nil {
		contentType = *asked.ContentType
	}
	if got.header.Get("Content-Type") != contentType {
		return []string{fmt.Sprintf("content type %q, expected %q", got.header.Get("Content-Type"), contentType)}
	}
	if asked.Status >= http.StatusBadRequest || asked.Status == http.StatusNoContent {
		return nil
	}
	var want, have map[string]any
	if err := errors.Join(json.Unmarshal([]byte(asked.Response), &want), json.Unmarshal([]byte(got.body), &have)); err != nil {
		return []string{err.Error()}
	}
	if document, one := want["DOCUMENT"].(map[string]any); one {
		ours, _ := have["DOCUMENT"].(map[string]any)
		r.documents[fmt.Sprint(document["ID"])] = fmt.Sprint(ours["ID"])
		if passing(stateIn(asked.Response)) {
			return missingKeys(document, ours)
		}
	}
	if pool, list := want["DOCUMENT_POOL"].(map[string]any); list {
		return r.poolShapes(pool, have["DOCUMENT_POOL"])
	}
	return shapeDifferences("", want, have)
}

// poolShapes compares the first document of a list: what each contains is compared where it is shown.
func (r *clientReplay) poolShapes(want map[string]any, have any) []string {
	ours, _ := have.(map[string]any)
	wanted, _ := want["DOCUMENT"].([]any)
	had, _ := ours["DOCUMENT"].([]any)
	if (len(wanted) == 0) != (len(had) == 0) || ours == nil {
		return []string{fmt.Sprintf("a list of %d, expected %d", len(had), len(wanted))}
	}
	if len(wanted) == 0 {
		if len(ours) > 0 {
			return []string{"an empty list has DOCUMENT"}
		}
		return nil
	}
	return missingKeys(wanted[0].(map[string]any), had[0].(map[string]any))
}

// shapeDifferences compares two values by their types and keys, arrays element by element as far as both go.
func shapeDifferences(path string, want, have any) []string {
	if kindOf(want) != kindOf(have) {
		return []string{fmt.Sprintf("%s is %s (%v), expected %s (%v)", path, kindOf(have), have, kindOf(want), want)}
	}
	var found []string
	switch wanted := want.(type) {
	case map[string]any:
		had := have.(map[string]any)
		keys := maps.Clone(wanted)
		maps.Copy(keys, had)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			inner, isWanted := wanted[key]
			ours, isHad := had[key]
			switch {
			case !isWanted && key == "last_eval": // the autoscaler has come by
			case !isWanted:
				found = append(found, path+"."+key+" was not recorded")
			case !isHad:
				found = append(found, path+"."+key+" is missing")
			default:
				found = append(found, shapeDifferences(path+"."+key, inner, ours)...)
			}
		}
	case []any:
		had := have.([]any)
		if len(wanted) > 0 && len(had) == 0 {
			return []string{path + " is empty"}
		}
		for i := range min(len(wanted), len(had)) {
			found = append(found, shapeDifferences(fmt.Sprintf("%s[%d]", path, i), wanted[i], had[i])...)
		}
	}
	return found
}

// instantiated makes a service by hand, of what the recording shows of one later on.
func (r *clientReplay) instantiated(recorded int, user string, line int) {
	var read shown
	if err := json.Unmarshal([]byte(r.recorded[line-1].Response), &read); err != nil {
		r.t.Fatal(err)
	}
	body := read.Document.Template.Body
	for i := range body.Roles {
		role := &body.Roles[i]
		if role.Type == spec.RoleTypeVR {
			role.TemplateID = 1
		}
	}
	body.State, body.Log = nil, nil
	text, err := body.Text()
	if err != nil {
		r.t.Fatal(err)
	}
	template, _ := r.w.document(r.w.expect(user, "POST", "/service_template", string(text), 201, ""))
	id, _ := r.w.document(r.w.expect(user, "POST", "/service_template/"+template+"/action", perform("instantiate", `{}`), 201, ""))
	r.documents[strconv.Itoa(recorded)] = id
}

// before is what was done between the recorded calls, in oned or by calls that were left out of the recording.
func (r *clientReplay) before(line int) {
	hands := map[int]func(){
		263: func() { r.trouble("328", "Slave") },
		279: func() { r.undeploy("330", "331", "332", "333", "334") },
		400: func() { r.trouble("380", "Slave") },
		409: func() { r.instantiated(382, admin, 410) },
		410: func() { r.ready("382") },
		421: func() { r.ready("382") },
		433: func() { r.instantiated(384, admin, 433) },
		434: func() { r.instantiated(386, alice, 434) },
		438: func() { r.instantiated(388, admin, 433) },
		440: func() { r.instantiated(390, admin, 440) },
	}
	if hand := hands[line]; hand != nil {
		hand()
	}
}

// trouble takes a role's VMs away from a service that rests.
func (r *clientReplay) trouble(service, role string) {
	r.rest(service)
	r.act(service, role, "poweroff")
	r.until(service, spec.ServiceWarning)
}

// undeploy ends services whose end was not recorded.
func (r *clientReplay) undeploy(recorded ...string) {
	for _, id := range recorded {
		if _, known := r.documents[id]; known {
			r.rest(id)
			r.send(exchange{Method: http.MethodDelete, Path: "/service/" + id, Auth: admin})
		}
	}
}
