package consumers_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/opennebula"
)

// recordedCall is a line of rest.jsonl, recordedEvent one of zmq_events.jsonl.
type recordedCall struct {
	Name     string  `json:"name"`
	Method   string  `json:"method"`
	Path     string  `json:"path"`
	Request  *string `json:"request_body"`
	Status   int     `json:"status"`
	Response string  `json:"response_body"`
}

type recordedEvent struct {
	Key  string `json:"key"`
	Body string `json:"body_b64"`
}

// vmEvents are the recorded events of VMs, and the calls that told READY.
func vmEvents(t *testing.T) []opennebula.HookEvent {
	t.Helper()
	var events []opennebula.HookEvent
	for _, line := range fixtures.Lines[recordedEvent](t, "zmq_events.jsonl") {
		body, err := base64.StdEncoding.DecodeString(line.Body)
		must(t, err)
		if !strings.HasPrefix(line.Key, "EVENT STATE VM/") && !strings.HasPrefix(line.Key, "EVENT API one.vm.update 1") {
			continue
		}
		key, err := opennebula.ParseKey(line.Key)
		must(t, err)
		event, err := new(opennebula.EventDecoder).Decode(line.Key, key, []byte(line.Body))
		if err != nil {
			event, err = new(opennebula.EventDecoder).Decode(line.Key, key, body)
		}
		must(t, err)
		events = append(events, event)
	}
	return events
}

type document struct {
	owner one.Identity
	body  spec.Body
}

func recordedDocument(t *testing.T, call recordedCall) document {
	t.Helper()
	var answer struct {
		Document struct {
			UID      string `json:"UID"`
			GID      string `json:"GID"`
			UName    string `json:"UNAME"`
			GName    string `json:"GNAME"`
			Template struct {
				Body json.RawMessage `json:"BODY"`
			} `json:"TEMPLATE"`
		} `json:"DOCUMENT"`
	}
	must(t, json.Unmarshal([]byte(call.Response), &answer))
	body, err := spec.ParseBody(answer.Document.Template.Body)
	must(t, err)
	uid, _ := strconv.Atoi(answer.Document.UID)
	gid, _ := strconv.Atoi(answer.Document.GID)
	return document{one.Identity{UID: uid, GID: gid, UName: answer.Document.UName, GName: answer.Document.GName}, body}
}

// comparable is a document without its times. Three things are ours on purpose:
// the words of a refusal; that the service is DEPLOYING before the first VM is
// asked for, and not only after; and that a router is no longer shown once oned
// has deleted it.
func comparable(t *testing.T, body spec.Body) string {
	t.Helper()
	body.RegistrationTime, body.StartTime = 0, 0
	failed := slices.ContainsFunc(body.Log, func(e spec.LogEntry) bool { return e.Severity == "E" })
	body.Log = slices.DeleteFunc(slices.Clone(body.Log), func(e spec.LogEntry) bool { return failed && e.Message == "New state: DEPLOYING" })
	for i := range body.Log {
		body.Log[i].Timestamp = 0
		if text := body.Log[i].Message; strings.Contains(text, "777") {
			body.Log[i].Message = "Role a : it has no template 777" // in our own words
		}
	}
	body.Roles = slices.Clone(body.Roles)
	for i := range body.Roles {
		if role := &body.Roles[i]; *role.State == spec.RoleUndeploying {
			role.VRouterID, role.VRouterIPs = nil, nil
		}
	}
	var sorted any
	must(t, json.Unmarshal(encode(t, body), &sorted))
	text, err := json.Marshal(sorted)
	must(t, err)
	return string(text)
}

// commandOf is what a recorded call asks of the engine; false for what the API
// does by itself.
func commandOf(t *testing.T, call recordedCall) (flow.Verb, any, bool) {
	t.Helper()
	request := ""
	if call.Request != nil {
		request = *call.Request
	}
	var asked struct {
		Action struct {
			Perform string                     `json:"perform"`
			Params  map[string]json.RawMessage `json:"params"`
		} `json:"action"`
	}
	readable := json.Unmarshal([]byte(request), &asked) == nil
	switch {
	case call.Method == http.MethodDelete && strings.Count(call.Path, "/") == 2:
		return flow.VerbUndeploy, nil, true
	case call.Method == http.MethodPut && readable:
		return flow.VerbUpdate, json.RawMessage(request), true
	case strings.HasSuffix(call.Path, "/scale"):
		return flow.VerbScale, json.RawMessage(request), true
	case asked.Action.Perform == "recover":
		return flow.VerbRecover, asked.Action.Params, true
	case asked.Action.Perform == "release":
		return flow.VerbRelease, flow.ReleaseArguments{}, true
	case asked.Action.Perform == "add_role":
		return flow.VerbAddRole, asked.Action.Params, true
	case asked.Action.Perform == "remove_role":
		return flow.VerbRemoveRole, map[string]any{"role_name": asked.Action.Params["role"]}, true
	}
	return "", nil, false
}
