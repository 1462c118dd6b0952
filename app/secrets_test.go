package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

// mark is in every secret that the test plants; what follows it says where.
const mark = "PLANTED-"

// customer is a tenant who puts a secret wherever he can.
type customer struct {
	t    *testing.T
	base string
}

func (c customer) call(method, path, body string, want int, headers ...string) []byte {
	c.t.Helper()
	status, text := c.ask(method, path, body, headers...)
	if status != want {
		c.t.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	return text
}

func (c customer) ask(method, path, body string, headers ...string) (int, []byte) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	must(c.t, err)
	request.SetBasicAuth("oneadmin", "opennebula")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	must(c.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(c.t, err)
	return answer.StatusCode, text
}

func (c customer) id(answer []byte) int {
	c.t.Helper()
	var document struct {
		Document struct {
			ID int `json:"ID,string"`
		} `json:"DOCUMENT"`
	}
	must(c.t, json.Unmarshal(answer, &document))
	return document.Document.ID
}

// plant has a service go through its life with secrets in it.
func (c customer) plant() {
	c.t.Helper()
	contents := func(where string) string {
		return fmt.Sprintf(`{"CPU":"0.1","DB_PASSWORD":"%s%s","CONTEXT":{"ROOT":"%s%s-context"}}`, mark, where, mark, where)
	}
	template := c.id(c.call("POST", "/service_template", fmt.Sprintf(`{"name":"secret","deployment":"none",
		"user_inputs":{"ADMIN":"M|password|of the admin","KEY":"O|password|with a default| |%[1]sdefault"},
		"roles":[{"name":"a","type":"vm","cardinality":1,"min_vms":0,"max_vms":5,"template_id":0,"user_inputs":{"ROLE_PASSWORD":"M|password|of the role"},
			"user_inputs_values":{"ROLE_PASSWORD":"%[1]srole-input"},"template_contents":%[2]s},
			{"name":"refused","type":"vm","cardinality":0,"min_vms":0,"max_vms":5,"template_id":0,"template_contents":{"NIC":{"NETWORK_ID":"$ADMIN"},"LABELS":"$KEY"}}]}`, mark, contents("contents")), 201))
	key := []string{"Idempotency-Key", mark + "key"}
	instantiate := fmt.Sprintf(`{"action":{"perform":"instantiate","params":{"merge_template":{"user_inputs_values":{"ADMIN":"%sinput"}}}}}`, mark)
	service := c.id(c.call("POST", fmt.Sprintf("/service_template/%d/action", template), instantiate, 201, key...))
	c.call("POST", fmt.Sprintf("/service_template/%d/action", template), instantiate, 201, key...)
	at := fmt.Sprintf("/service/%d", service)
	running := func() {
		c.t.Helper()
		poll.Until(c.t, "the service to run", func() bool { return stateOf(c.t, c.base+at) == 2 })
	}
	running()
	c.call("POST", at+"/role_action", fmt.Sprintf(`{"action":{"perform":"add_role","params":{"role":{"name":"b","type":"vm","cardinality":1,"template_id":0,
		"user_inputs_values":{"X":"%sadded-input"},"template_contents":%s}}}}`, mark, contents("added")), 204, "Idempotency-Key", "added")
	running()
	c.call("PUT", at, fmt.Sprintf(`{"append":true,"template":{"roles":[{"name":"b","template_contents":%s}]}}`, contents("updated")), 204)
	c.call("POST", at+"/scale", `{"role_name":"b","cardinality":2,"force":true}`, 204)
	running()
	c.refused(at)
	c.call("POST", at+"/scale", `{"role_name":"refused","cardinality":1,"force":true}`, 204) // oned repeats what it refuses
	poll.Until(c.t, "the scaling to fail", func() bool { return stateOf(c.t, c.base+at) == 9 })
	// What is refused.
	for path, body := range map[string]string{
		"/service_template": fmt.Sprintf(`{"name":"x","roles":[{"name":"a","type":"%stype","template_id":"%sid","cardinality":"%sn"}],"deployment":"%sd"}`, mark, mark, mark, mark),
		fmt.Sprintf("/service_template/%d/action", template): fmt.Sprintf(`{"action":{"perform":"instantiate","params":{"merge_template":{"user_inputs_values":"%swrong"}}}}`, mark),
	} {
		c.call("POST", path, body, 400)
	}
	c.call("POST", "/service_template", `{"name":"`+mark+`broken`, 400)
	c.call("POST", "/service_template", fmt.Sprintf(`{"name":"x","roles":[],"flowjet_webhooks":[{"url":"https://joe:%surl@host/"}]}`, mark), 400)
	c.call("POST", "/service_template", fmt.Sprintf(`{"name":"x","roles":[],"flowjet_webhooks":[{"url":"https://host/","secret":"%s secret"}]}`, mark), 400)
	wrong, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+"/service", nil)
	must(c.t, err)
	wrong.SetBasicAuth("oneadmin", mark+"password")
	answer, err := http.DefaultClient.Do(wrong)
	must(c.t, err)
	answer.Body.Close()
	c.call("POST", at+"/action", `{"action":{"perform":"recover","params":{"delete":true}}}`, 204)
	poll.Until(c.t, "the service to be gone", func() bool { return stateOf(c.t, c.base+at) < 0 })
}

// refused has changes of a service refused, by the API and by its worker, with secrets in all
// that is wrong and beside it.
func (c customer) refused(at string) {
	c.t.Helper()
	role := func(more string) string {
		return `{"name":"c","type":"vm","cardinality":1,"template_id":0` + more + `}`
	}
	secret := fmt.Sprintf(`,"user_inputs":{"P":"M|password|p"},"user_inputs_values":{"P":"%[1]srefused-input"},"template_contents":{"DB":"%[1]srefused"`, mark)
	for name, added := range map[string]string{
		"there already":     strings.Replace(role(secret+`}`), `"c"`, `"a"`, 1),
		"a wrong network":   role(secret + `,"NIC":{"NETWORK_ID":"` + mark + `network"}}`),
		"a wrong variable":  role(secret + `,"CONTEXT":{"SCRIPT":"$(` + mark + `script)"}}`),
		"a wrong attribute": role(secret + `,"` + mark + `a name":"` + mark + `value"}}`),
		"contents of text":  role(`,"template_contents":"` + mark + `text"`),
	} {
		for i, call := range [][3]string{
			{"POST", at + "/role_action", `{"action":{"perform":"add_role","params":{"role":` + added + `}}}`},
			{"PUT", at, `{"append":true,"template":{"roles":[` + added + `]}}`},
			{"PUT", at, `{"template":{"name":"x","roles":[` + added + `]}}`},
		} {
			status, _ := c.ask(call[0], call[1], call[2], "Idempotency-Key", fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), i))
			if status < 400 && call[0] == "POST" { // a PUT may change the role that is there already
				c.t.Errorf("%s: %s %s: %d", name, call[0], call[1], status)
			}
		}
	}
	for _, token := range []string{mark + "token", "serveradmin:" + mark + "token"} {
		request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+"/service", nil)
		must(c.t, err)
		request.SetBasicAuth("alice", token)
		answer, err := http.DefaultClient.Do(request)
		must(c.t, err)
		answer.Body.Close()
	}
}

// Whatever a tenant plants, none of it is in a stream, a bucket, a log, a metric, a trace or
// a file, but for oned's own.
func TestNoSecretIsKept(t *testing.T) {
	folder, log := t.TempDir(), &testlog.Log{}
	var traces testlog.Log
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(&traces, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	secret := filepath.Join(folder, "webhook.secret")
	must(t, os.WriteFile(secret, []byte(mark+"webhook-secret-of-some-length\n"), 0o600))
	receivers := filepath.Join(folder, "webhooks.yaml")
	must(t, os.WriteFile(receivers, []byte("receivers: [{name: ops, url: 'http://127.0.0.1:1/', secret_file: "+secret+"}]\nallow_addresses: [127.0.0.0/8]\n"), 0o600))
	data := filepath.Join(folder, "data")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	config, err := ReadConfig("", flagsOf(t, "--sim", "--data-dir", data, "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
		"--default-cooldown", "1ms", "--status-listen", "127.0.0.1:0", "--webhooks-file", receivers))
	must(t, err)
	var told testlog.Log
	running := New(config, Everything(config), "test", &told, log.Logger())
	must(t, running.Start(t.Context()))
	stopped := false
	defer func() {
		if !stopped {
			stopApp(t, running)
		}
	}()
	who := customer{t, "http://" + running.APIAddress()}
	who.plant()

	found := map[string]string{}
	look := func(where string, text []byte) {
		if at := bytes.Index(text, []byte(mark)); at >= 0 {
			found[where] = string(text[max(0, at-80):min(len(text), at+60)])
		}
	}
	for stream, messages := range allMessages(t, config, running.server.URL()) {
		look("stream "+stream, messages)
	}
	for name, url := range map[string]string{"API's metrics": who.base + "/metrics", "metrics": "http://" + running.statusAddress + "/metrics", "health": who.base + "/flowjet/v1/health"} {
		answer, err := http.Get(url)
		must(t, err)
		text, err := io.ReadAll(answer.Body)
		must(t, err)
		answer.Body.Close()
		look(name, text)
	}
	stopApp(t, running)
	stopped = true
	look("log", []byte(log.String()))
	look("terminal", []byte(told.String()))
	look("traces", []byte(traces.String()))
	if len(traces.String()) == 0 {
		t.Error("nothing was traced")
	}
	must(t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), "simulated-opennebula") {
			return err
		}
		text, err := os.ReadFile(path)
		look("file "+strings.TrimPrefix(path, data), text)
		return err
	}))
	list, err := os.ReadFile("/proc/self/cmdline")
	must(t, err)
	look("process list", list)
	for where, text := range found {
		t.Errorf("%s: ...%q...", where, text)
	}
}

// allMessages are the streams and buckets with all that they hold, headers too.
func allMessages(t *testing.T, config Config, url string) map[string][]byte {
	t.Helper()
	pipe, _, err := func() (*pipeline.Pipeline, []string, error) {
		config.NATS.URL = url
		return config.Attach(t.Context(), pipeline.Config{Role: pipeline.RoleOperator})
	}()
	must(t, err)
	defer pipe.Close()
	js, err := jetstream.New(pipe.Conn())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	all := map[string][]byte{}
	for name := range js.StreamNames(ctx).Name() {
		stream, err := js.Stream(ctx, name)
		must(t, err)
		text := []byte{}
		for sequence := stream.CachedInfo().State.FirstSeq; sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
			message, err := stream.GetMsg(ctx, sequence)
			if err != nil {
				continue // deleted, or replaced by a newer one
			}
			text = fmt.Appendf(text, "%s %v %s\n", message.Subject, message.Header, message.Data)
		}
		all[name] = text
	}
	if len(all) < 8 {
		t.Errorf("only %d streams were read", len(all))
	}
	return all
}
