package restapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

// exchange is one recorded call of OneFlow 7.4.
type exchange struct {
	Name        string  `json:"name"`
	Method      string  `json:"method"`
	Path        string  `json:"path"`
	Auth        string  `json:"auth"`
	Request     *string `json:"request_body"`
	Status      int     `json:"status"`
	ContentType *string `json:"content_type"`
	Response    string  `json:"response_body"`
}

// TestContract replays every recorded call in order, against a whole Flowjet
// over the simulator. With FLOWJET_CONTRACT_URL it goes to that server instead,
// and what an operator did between the calls is done on the oned at
// FLOWJET_CONTRACT_ONED (an XML-RPC endpoint).
func TestContract(t *testing.T) {
	recorded := fixtures.Lines[exchange](t, "rest.jsonl")
	r := newReplay(t)
	for i, call := range recorded {
		line := i + 1
		for _, hand := range r.hands()[line] {
			hand()
		}
		for _, difference := range r.line(line, call) {
			t.Errorf("line %d (%s): %s %s: %s", line, call.Name, call.Method, call.Path, difference)
		}
	}
	t.Logf("all %d recorded calls are held; %d of them are answered better on purpose", len(recorded), len(better))
}

// replay sends recorded calls to another server, where objects have other ids.
type replay struct {
	t   testing.TB
	url string
	// oned is for the operator's hands; nil for none.
	oned *opennebula.Session
	// ids are ours, by those of the recording: of documents and of VMs.
	documents, vms map[string]string
	client         *http.Client
}

func newReplay(t *testing.T) *replay {
	r := &replay{t: t, documents: map[string]string{}, vms: map[string]string{}, client: &http.Client{Timeout: time.Minute}}
	t.Cleanup(r.client.CloseIdleConnections)
	if url := os.Getenv("FLOWJET_CONTRACT_URL"); url != "" {
		r.url = strings.TrimSuffix(url, "/")
		if endpoint := os.Getenv("FLOWJET_CONTRACT_ONED"); endpoint != "" {
			client := opennebula.NewClient(opennebula.Config{Endpoint: endpoint})
			t.Cleanup(client.Close)
			name, secret, _ := strings.Cut(admin, ":")
			r.oned = client.With(name, secret)
		}
		return r
	}
	w := newWorld(t, Config{})
	w.routerTemplates(2, 3)
	w.whole()
	r.url, r.oned = w.url, w.oned.For("oneadmin")
	return r
}

// routerTemplates makes VM templates for virtual routers, which have to have those ids: the
// recorded zone had one where the simulator has none.
func (w *world) routerTemplates(ids ...int) {
	w.t.Helper()
	for _, id := range ids {
		body := fmt.Sprintf("<methodCall><methodName>one.template.allocate</methodName><params><param><value><string>%s</string></value></param>"+
			"<param><value><string>NAME=router%d\nCPU=0.01\nMEMORY=16\nVROUTER=YES\n</string></value></param></params></methodCall>", admin, id)
		request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.sim.Endpoint(), strings.NewReader(body))
		w.must(err)
		answer, err := http.DefaultClient.Do(request)
		w.must(err)
		_ = answer.Body.Close()
		made, err := w.oned.For("oneadmin").VMTemplate(w.t.Context(), id)
		if w.must(err); made.Name != fmt.Sprintf("router%d", id) {
			w.t.Fatalf("VM template %d is %q", id, made.Name)
		}
	}
}

// whole adds a bridge and a worker: services live.
func (w *world) whole() {
	w.t.Helper()
	settings := flow.DefaultSettings()
	worker := consumers.New(consumers.Config{ID: "worker", Settings: settings}, w.pipe.Pipeline, w.oned)
	w.must(worker.Start(w.t.Context()))
	w.t.Cleanup(func() { w.bounded(worker.Stop) })
	heard := bridge.New(bridge.Config{Endpoints: []string{w.sim.HooksEndpoint()}, Holder: "bridge", Events: w.bridged}, w.pipe.Pipeline, w.oned)
	w.must(heard.Start(w.t.Context()))
	w.bridge.Store(heard)
	w.t.Cleanup(func() { w.bounded(heard.Stop) })
	w.must(w.sim.WaitSubscribed(w.t.Context(), "EVENT STATE VM/ACTIVE/RUNNING/"))
}

var documentPath = regexp.MustCompile(`^(/service(?:_template)?/)(\d+)(.*)$`)

// unknownID is what a recorded id becomes that has no counterpart: a document
// of the recording that is refused here must not be taken for another one.
const unknownID = "1999999999"

func (r *replay) path(recorded string) string {
	parts := documentPath.FindStringSubmatch(recorded)
	if parts == nil {
		return recorded
	}
	return parts[1] + cmp.Or(r.documents[parts[2]], unknownID) + parts[3]
}

// send makes a recorded call.
func (r *replay) send(call exchange) reply {
	r.t.Helper()
	body := ""
	if call.Request != nil {
		body = *call.Request
	}
	request, err := http.NewRequestWithContext(r.t.Context(), call.Method, r.url+r.path(call.Path), strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if name, secret, given := strings.Cut(call.Auth, ":"); given {
		request.SetBasicAuth(name, secret)
	}
	response, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

// patience is how long a recorded state may take to be reached.
const patience = poll.Limit

// line makes a call and says how the answer differs from what is expected.
func (r *replay) line(line int, call exchange) []string {
	got := r.send(call)
	want, contentType := call.Status, ""
	if call.ContentType != nil {
		contentType = *call.ContentType
	}
	if change, changed := better[line]; changed {
		want, contentType = change.status, textType
		if want == http.StatusNoContent {
			contentType = ""
		}
		if change.status == call.Status {
			r.t.Errorf("line %d is listed as different (%s) and is not", line, change.why.what)
		}
	}
	if call.Method == http.MethodGet && documentPath.MatchString(call.Path) && strings.HasPrefix(call.Path, "/service/") {
		got = r.settled(line, call, want, got)
	}
	if gone := call.Status == http.StatusOK && got.status == http.StatusNotFound && passing(stateIn(call.Response)); gone {
		return nil // it went through the recorded state faster than it could be asked
	}
	if call.Name == "undeploy twice" && got.status == http.StatusNotFound {
		return nil // the first undeploy was faster than OneFlow's
	}
	if got.status != want || got.header.Get("Content-Type") != contentType {
		return []string{fmt.Sprintf("got %d %q, expected %d %q: %.300s", got.status, got.header.Get("Content-Type"), want, contentType, got.body)}
	}
	return r.compare(line, call, got)
}

// settled repeats a look at a service until it is as it was recorded. States in
// passing are not waited for.
func (r *replay) settled(line int, call exchange, status int, got reply) reply {
	wanted := stateIn(call.Response)
	if passing(wanted) && status == http.StatusOK {
		return got
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	// A service is in its state a moment before its document tells everything.
	for got.status != status || status == http.StatusOK && (stateIn(got.body) != wanted || len(r.compare(line, call, got)) > 0) {
		select {
		case <-tick.C:
			got = r.send(call)
		case <-limit.C:
			return got
		}
	}
	return got
}

// stateIn is the state of the service in an answer, -1 without one.
func stateIn(text string) spec.ServiceState {
	var read shown
	if json.Unmarshal([]byte(text), &read) != nil || read.Document.Template.Body.State == nil {
		return -1
	}
	return *read.Document.Template.Body.State
}

func passing(state spec.ServiceState) bool {
	return state == spec.ServicePending || state.Waiting() && state != spec.ServiceCooldown && state != spec.ServiceHold
}

// compare holds bodies: documents by their content, errors only that there is
// one readable text.
func (r *replay) compare(line int, call exchange, got reply) []string {
	switch {
	case got.status == http.StatusNoContent:
		if got.body != "" {
			return []string{"204 with " + got.body}
		}
	case got.status >= http.StatusBadRequest:
		if strings.TrimSpace(got.body) == "" || strings.HasPrefix(got.body, "{") {
			return []string{"the error says " + got.body}
		}
	case strings.Contains(call.Response, "DOCUMENT_POOL"):
		return r.compareLists(call, got)
	default:
		var want, have map[string]map[string]any
		if err := errors.Join(json.Unmarshal([]byte(call.Response), &want), json.Unmarshal([]byte(got.body), &have)); err != nil {
			return []string{err.Error()}
		}
		r.documents[fmt.Sprint(want["DOCUMENT"]["ID"])] = fmt.Sprint(have["DOCUMENT"]["ID"])
		if passing(stateIn(call.Response)) {
			return missingKeys(want["DOCUMENT"], have["DOCUMENT"])
		}
		return except(otherBodies[line], r.differences("", want["DOCUMENT"], have["DOCUMENT"]))
	}
	return nil
}

// except leaves out differences that are meant.
func except(meant []meantDifference, found []string) []string {
	return slices.DeleteFunc(found, func(difference string) bool {
		return slices.ContainsFunc(meant, func(m meantDifference) bool { return strings.HasPrefix(difference, m.path) })
	})
}

// missingKeys holds only that a document has its parts.
func missingKeys(want, have map[string]any) []string {
	var missing []string
	for key := range want {
		if have[key] == nil {
			missing = append(missing, key+" is missing")
		}
	}
	return missing
}

// compareLists holds that the documents which there are here, too, are listed
// in the recorded order. What each contains is compared where it is shown.
func (r *replay) compareLists(call exchange, got reply) []string {
	var want, have map[string]map[string][]map[string]any
	if err := errors.Join(json.Unmarshal([]byte(call.Response), &want), json.Unmarshal([]byte(got.body), &have)); err != nil {
		return []string{err.Error()}
	}
	ours := map[string]map[string]any{}
	for _, document := range have["DOCUMENT_POOL"]["DOCUMENT"] {
		ours[fmt.Sprint(document["ID"])] = document
	}
	var found []string
	for _, document := range want["DOCUMENT_POOL"]["DOCUMENT"] {
		id, known := r.documents[fmt.Sprint(document["ID"])]
		if !known {
			continue
		}
		if ours[id] == nil {
			found = append(found, fmt.Sprintf("document %v is not listed", document["ID"]))
			continue
		}
		found = append(found, missingKeys(document, ours[id])...)
	}
	return found
}

// volatile are the attributes of which only the type is compared: ids, and
// times. Log lines have their own words.
var volatile = []string{"ID", "deploy_id", "registration_time", "start_time", "timestamp", "vrouter_id", "vrouter_ips", "log", "id", "NETWORK_ID"}

// differences compares two JSON values by structure and by what they say.
func (r *replay) differences(path string, want, have any) []string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	if slices.Contains(volatile, name) {
		if kindOf(want) != kindOf(have) {
			return []string{fmt.Sprintf("%s is %s, expected %s", path, kindOf(have), kindOf(want))}
		}
		return nil
	}
	switch wanted := want.(type) {
	case map[string]any:
		had, ok := have.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, expected an object", path, kindOf(have))}
		}
		return r.ofObjects(path, wanted, had)
	case []any:
		had, ok := have.([]any)
		if !ok || len(had) != len(wanted) {
			return []string{fmt.Sprintf("%s is %v, expected %d elements", path, have, len(wanted))}
		}
		var found []string
		for i := range wanted {
			found = append(found, r.differences(fmt.Sprintf("%s[%d]", path, i), wanted[i], had[i])...)
		}
		return found
	}
	if name == "template_id" && r.copied(want, have) || r.plain(want) == r.plain(have) {
		return nil
	}
	return []string{fmt.Sprintf("%s is %v, expected %v", path, have, want)}
}

func (r *replay) ofObjects(path string, want, have map[string]any) []string {
	keys := map[string]bool{}
	for key := range want {
		keys[key] = true
	}
	for key := range have {
		keys[key] = true
	}
	var found []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		_, wanted := want[key]
		_, had := have[key]
		switch {
		case !wanted:
			found = append(found, fmt.Sprintf("%s.%s is there and was not recorded: %v", path, key, have[key]))
		case !had:
			found = append(found, fmt.Sprintf("%s.%s is missing", path, key))
		default:
			found = append(found, r.differences(path+"."+key, want[key], have[key])...)
		}
	}
	return found
}

// copied reports whether both name a VM template that was cloned, whose ids differ.
func (r *replay) copied(want, have any) bool {
	const seeded = 0
	wanted, ok := want.(float64)
	had, also := have.(float64)
	return ok && also && wanted != seeded && had != seeded
}

var serviceIn = regexp.MustCompile(`(\(service_|-)\d+([)"])`)

// plain is a value without the service's id in names of VMs and networks.
func (r *replay) plain(value any) string {
	return serviceIn.ReplaceAllString(fmt.Sprint(value), "${1}id$2")
}

func kindOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	}
	return fmt.Sprintf("%T", value)
}

// hands are what an operator did before a call was recorded.
func (r *replay) hands() map[int][]func() {
	if r.oned == nil {
		return nil
	}
	return map[int][]func(){
		120: {func() { r.resumeAll("27") }},
		129: {func() { r.until("27", spec.ServiceRunning) }, func() { r.act("27", "Slave", "poweroff") }},
		132: {func() { r.resumeAll("27") }},
		133: {func() { r.act("27", "Slave", "terminate-hard") }, func() { r.untilEmpty("27", "Slave") }},
		140: {func() { r.ready("29") }},
		167: {func() { r.act("37", "a", "terminate-hard") }},
	}
}

func (r *replay) service(recorded string) (spec.Body, bool) {
	id, known := r.documents[recorded]
	if !known {
		return spec.Body{}, false
	}
	got := r.send(exchange{Method: http.MethodGet, Path: "/service/" + recorded, Auth: admin})
	var read shown
	if err := json.Unmarshal([]byte(got.body), &read); err != nil {
		r.t.Logf("service %s cannot be read: %d %s", id, got.status, got.body)
		return spec.Body{}, false
	}
	return read.Document.Template.Body, true
}

func (r *replay) until(service string, state spec.ServiceState) {
	poll.Until(r.t, fmt.Sprintf("service %s to be %s", service, state), func() bool {
		body, found := r.service(service)
		return found && *body.State == state
	})
}

func (r *replay) untilEmpty(service, role string) {
	poll.Until(r.t, "role "+role+" to lose its VMs", func() bool { return len(r.nodes(service, role)) == 0 })
}

func (r *replay) nodes(service, role string) []spec.Node {
	body, _ := r.service(service)
	for _, known := range body.Roles {
		if known.Name == role {
			return known.Nodes
		}
	}
	return nil
}

func (r *replay) act(service, role, action string) {
	for _, node := range r.nodes(service, role) {
		if err := r.oned.ActOnVM(r.t.Context(), action, node.DeployID); err != nil {
			r.t.Logf("%s of VM %d: %v", action, node.DeployID, err)
		}
	}
}

// resumeAll gets every VM running, and waits until the service is.
func (r *replay) resumeAll(service string) {
	poll.Until(r.t, "service "+service+" to run again", func() bool {
		body, found := r.service(service)
		running := found && *body.State == spec.ServiceRunning
		for _, role := range body.Roles {
			for _, node := range role.Nodes {
				if vm, err := r.oned.VM(r.t.Context(), node.DeployID); err == nil && !vm.Running() {
					running = false
					_ = r.oned.ActOnVM(r.t.Context(), "resume", node.DeployID)
				}
			}
		}
		return running
	})
}

// ready has every VM say that it is, as a guest does when it has booted.
func (r *replay) ready(service string) {
	poll.Until(r.t, "service "+service+" to run", func() bool {
		body, found := r.service(service)
		for _, role := range body.Roles {
			for _, node := range role.Nodes {
				_ = r.oned.UpdateVM(r.t.Context(), node.DeployID, "READY=YES", true)
			}
		}
		return found && *body.State == spec.ServiceRunning
	})
}
