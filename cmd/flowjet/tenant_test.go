package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/operate"
)

// tenantPage tells users what they can type; its commands are run here.
const tenantPage = "../../docs/cli.md"

// user types commands at a cloud, in this process.
type user struct {
	t         *testing.T
	variables map[string]string
}

// newTenant is a user whose credentials are in a file.
func newTenant(t *testing.T, c cloud, credentials string) user {
	t.Helper()
	home := t.TempDir()
	auth := filepath.Join(home, "one_auth")
	if err := os.WriteFile(auth, []byte(credentials+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := user{t, map[string]string{
		"HOME": home, "TMPDIR": home, "ONE_AUTH": auth, "ONEFLOW_URL": "http://" + c.api, "ONEFLOW_USER": "", "ONEFLOW_PASSWORD": "", "VISUAL": "", "EDITOR": "false",
	}}
	for name := range u.variables {
		t.Setenv(name, "") // so that all are as they were after the test
	}
	return u
}

// with is the same user with one more variable.
func (u user) with(name, value string) user {
	u.variables = maps.Clone(u.variables)
	u.variables[name] = value
	return u
}

// types runs a command and returns what it wrote to both outputs, and how it ended: 0 is success.
func (u user) types(line ...string) (out, failed string, status terminal.Exit) {
	u.t.Helper()
	for name, value := range u.variables {
		u.t.Setenv(name, value)
	}
	var stdout, stderr strings.Builder
	root := newRoot()
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(line)
	cmd, err := root.ExecuteContextC(u.t.Context())
	if err = helpful(cmd, err); err != nil {
		fmt.Fprintln(&stderr, "flowjet:", err)
		status = operate.ExitOf(err)
	}
	return stdout.String(), stderr.String(), status
}

// does runs a command that has to succeed.
func (u user) does(line ...string) string {
	u.t.Helper()
	out, failed, status := u.types(line...)
	if status != 0 {
		u.t.Fatalf("flowjet %s ends with %d: %s\n%s", strings.Join(line, " "), status, failed, out)
	}
	return out
}

// fails runs a command that has to end so, with one line that has the text.
func (u user) fails(status terminal.Exit, text string, line ...string) {
	u.t.Helper()
	out, failed, ended := u.types(line...)
	if ended != status || !strings.Contains(failed, text) || strings.Count(failed, "\n") != 1 {
		u.t.Errorf("flowjet %s ends with %d, want %d and one line with %q:\n%s\n%s", strings.Join(line, " "), ended, status, text, failed, out)
	}
}

// has reports texts that are missing.
func has(t *testing.T, what, out string, wanted ...string) {
	t.Helper()
	if missing := missingFrom(out, wanted); len(missing) > 0 {
		t.Errorf("%s lacks %q:\n%s", what, missing, out)
	}
}

const webTemplate = `
name: web
description: A shop
deployment: straight
user_inputs:
  SIZE: "M|list|How large|1,2,4|2"
  ADMIN: "M|password|The admin's password"
  NOTE: "O|text64|A note"
roles:
  - {name: front, type: vm, cardinality: 1, template_id: 0, min_vms: 1, max_vms: 4, cooldown: 1}
  - {name: worker, type: vm, cardinality: 2, template_id: 0, parents: [front], cooldown: 1}
`

// TestTenant takes a service through its life as a user would, with commands over the API.
func TestTenant(t *testing.T) {
	c := newCloud(t)
	c.up(t)
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	alice := newTenant(t, c, "alice:alice")
	web, password := file("web.yaml", webTemplate), file("password", "very secret\n")
	alice.checkTemplates(web)
	alice.checkInstantiate(password)
	alice.checkCompletion()
	alice.checkChanges(file("cache.yaml", "{name: cache, type: vm, cardinality: 1, template_id: 0}"))
	alice.checkActions()
	alice.checkHold(file("held.yaml", heldTemplate))
	alice.checkStatuses(web, password)
	alice.checkOthers(newTenant(t, c, "oneadmin:opennebula"))
	alice.checkShapes(c)
	alice.checkLists(file("plain.yaml", "{name: plain, deployment: none, roles: [{name: a, type: vm, cardinality: 1, template_id: 0}]}"))
	has(t, "undeploy", alice.does("service", "undeploy", "shop", "--wait"), "RUNNING -> UNDEPLOYING", "is gone")
	alice.fails(terminal.ExitNotFound, "there is no service", "service", "show", "shop")
	has(t, "delete", alice.does("template", "delete", "web"), "it is deleted")
}

func (u user) checkTemplates(web string) {
	u.t.Helper()
	has(u.t, "create", u.does("template", "create", web), "service template 0 (web): it is created")
	has(u.t, "list", u.does("template", "list"), "0   web   alice", "front:1 worker:2  3")
	has(u.t, "show", u.does("template", "show", "web"), "ADMIN  password  yes", "1,2,4", "worker  2    -        front")
	copied := filepath.Join(filepath.Dir(web), "copy.yaml")
	if err := os.WriteFile(copied, []byte(u.does("template", "show", "web", "-o", "yaml")), 0o600); err != nil {
		u.t.Fatal(err)
	}
	if id := u.does("template", "create", copied, "--name", "web2", "-o", "name"); id != "1\n" {
		u.t.Errorf("the id of the copy is %q", id)
	}
	has(u.t, "clone", u.does("template", "clone", "web2", "web3"), "service template 2 (web3)")
	has(u.t, "rename", u.does("template", "rename", "web3", "web4"), "its name is web4")
	has(u.t, "chmod", u.does("template", "chmod", "web4", "644"), "its permissions are 644")
	u = u.with("EDITOR", "sed -i s/shop/bakery/")
	has(u.t, "update", u.does("template", "update", "web4"), "it is updated")
	has(u.t, "show", u.does("template", "show", "web4"), "A bakery")
	if out := u.does("template", "update", "web4"); out != "" { // nothing is left to replace
		u.t.Errorf("an edit that changes nothing says %q", out)
	}
	appended := filepath.Join(filepath.Dir(web), "append.json")
	if err := os.WriteFile(appended, []byte(`{"description": "A library"}`), 0o600); err != nil {
		u.t.Fatal(err)
	}
	has(u.t, "update", u.does("template", "update", "web4", appended, "--append"), "it is updated")
	has(u.t, "show", u.does("template", "show", "web4"), "A library", "front")
	u.does("template", "delete", "web4")
	u.does("template", "delete", "web2")
	if names := u.does("template", "list", "-o", "name"); names != "0\n" {
		u.t.Errorf("templates %q are left", names)
	}
}

func (u user) checkInstantiate(password string) {
	u.t.Helper()
	u.fails(terminal.ExitUsage, "user input ADMIN (password) is mandatory: set it with --input-file ADMIN=PATH", "template", "instantiate", "web")
	u.fails(terminal.ExitUsage, "others could see", "template", "instantiate", "web", "--input", "ADMIN=x")
	u.fails(terminal.ExitUsage, "no user input \"COLOUR\"", "template", "instantiate", "web", "--input-file", "ADMIN="+password, "--input", "COLOUR=red")
	given := []string{"--input-file", "ADMIN=" + password, "--input", "NOTE=hello", "--name", "shop"}
	has(u.t, "dry run", u.does(append([]string{"template", "instantiate", "web", "--dry-run"}, given...)...),
		"Nothing was changed", "role front: PENDING -> DEPLOYING", "create worker_1", "Then it is RUNNING.")
	if out := u.does("service", "list", "-o", "name"); out != "" {
		u.t.Errorf("a dry run has made services %q", out)
	}
	// Safe to press twice.
	first := append([]string{"service", "instantiate", "web", "--wait", "--idempotency-key", "shop-1"}, given...)
	has(u.t, "instantiate", u.does(first...), "role worker: PENDING -> DEPLOYING", "service 3 (shop): it is RUNNING\n")
	has(u.t, "instantiate again", u.does(first...), "service 3 (shop): it is RUNNING (requested before with the same key)")
	has(u.t, "list", u.does("service", "list"), "3   shop  alice  RUNNING  3/3      2")
	shown := u.does("service", "show", "shop", "-o", "wide") + u.does("service", "show", "3", "-o", "json")
	has(u.t, "show", shown, "front   RUNNING  1/1", "worker_0", "(set)", "aGVsbG8=", "ETag  ")
	if strings.Contains(shown, "very secret") {
		u.t.Errorf("a password is shown: %s", shown)
	}
}

func (u user) checkCompletion() {
	u.t.Helper()
	for line, wanted := range map[string][]string{
		"service show ":                           {"3\tshop RUNNING", "shop\t3 RUNNING"},
		"service scale shop ":                     {"front\tRUNNING 1/1", "worker\tRUNNING 2/2"},
		"service remove-role 3 ":                  {"worker\t"},
		"template show ":                          {"0\tweb A shop", "web\t0 A shop"},
		"template instantiate web --input ":       {"SIZE=\tHow large", "ADMIN=\t"},
		"template instantiate web --cardinality ": {"worker=\t2 VMs"},
		"service list --state ":                   {"RUNNING", "FAILED_DEPLOYING"},
		"service list -o ":                        {"wide", "yaml"},
	} {
		words := strings.Split(line, " ")
		// An API that does not answer within two seconds is not waited for.
		poll.Until(u.t, fmt.Sprintf("the completion of %q to have %q", line, wanted), func() bool {
			out, failed, status := u.types(append([]string{"__complete"}, words...)...)
			missing := missingFrom(out, wanted)
			if len(missing) > 0 {
				u.t.Logf("it lacks %q: %s\n%s", missing, failed, out)
			}
			return status == 0 && len(missing) == 0
		})
	}
	if out, _, status := u.with("ONE_AUTH", "/nowhere").types("__complete", "service", "show", ""); status != 0 || strings.Contains(out, "shop") {
		u.t.Errorf("without credentials the completion is %s", out)
	}
}

func (u user) checkChanges(cache string) {
	u.t.Helper()
	has(u.t, "scale", u.does("service", "scale", "shop", "worker", "3", "--wait"), "role worker: RUNNING -> SCALING", "role worker: VM 3 created", "service 3: it is RUNNING")
	has(u.t, "add-role", u.does("service", "add-role", "shop", cache, "--wait"), "role cache: ", "it is RUNNING")
	has(u.t, "remove-role", u.does("service", "remove-role", "shop", "cache", "--dry-run"), "terminate cache_0", "Then it is RUNNING.")
	has(u.t, "remove-role", u.does("service", "remove-role", "shop", "cache", "--wait"), "it is RUNNING")
	has(u.t, "chmod", u.does("service", "chmod", "shop", "600"), "its permissions are 600")
	has(u.t, "rename", u.does("service", "rename", "shop", "store"), "its name is store")
	has(u.t, "rename", u.does("service", "rename", "3", "shop"), "its name is shop")
	var shown struct {
		ETag string `json:"etag"`
	}
	if err := json.Unmarshal([]byte(u.does("service", "show", "shop", "-o", "json")), &shown); err != nil || shown.ETag == "" {
		u.t.Fatalf("there is no ETag: %v", err)
	}
	has(u.t, "rename", u.does("service", "rename", "shop", "store", "--if-match", shown.ETag), "store")
	u.fails(terminal.ExitFailed, "has changed since it was read", "service", "rename", "store", "shop", "--if-match", shown.ETag)
	u.does("service", "rename", "store", "shop")
	u = u.with("VISUAL", "sed -i 's/A shop/A kiosk/'")
	has(u.t, "update", u.does("service", "update", "shop", "--wait"), "it is RUNNING")
	has(u.t, "show", u.does("service", "show", "shop"), "A kiosk")
}

// checkActions schedules actions on VMs, and takes one back.
func (u user) checkActions() {
	u.t.Helper()
	has(u.t, "action", u.does("service", "action", "shop", "worker", "snapshot-create", "--number", "1", "--period", "5m", "--args", "before"),
		"service 3: snapshot-create is scheduled on the VMs of role worker\n")
	has(u.t, "sched-delete", u.does("service", "sched-delete", "shop", "worker", "0"), "service 3: scheduled action 0 is deleted from the VMs of role worker\n")
	has(u.t, "action", u.does("service", "action", "shop", "snapshot-create", "--period", "60"), "service 3: snapshot-create is scheduled on its VMs\n")
	has(u.t, "sched-delete", u.does("service", "sched-delete", "shop", "0"), "service 3: scheduled action 0 is deleted from its VMs\n")
	u.does("service", "action", "shop", "worker", "poweroff")
	isIn := func(state string) func() bool {
		return func() bool { return strings.Contains(u.does("service", "list", "--state", state), "shop") }
	}
	poll.Until(u.t, "VMs that are powered off", isIn("WARNING"))
	u.does("service", "action", "shop", "worker", "resume")
	poll.Until(u.t, "VMs that run again", isIn("RUNNING"))
	u.fails(terminal.ExitUsage, "ACTION is \"explode\": there are terminate, ", "service", "action", "shop", "explode")
	u.fails(terminal.ExitUsage, "--number is 0", "service", "action", "shop", "reboot", "--number", "0")
	u.fails(terminal.ExitUsage, "--period is \"soon\"", "service", "action", "shop", "reboot", "--period", "soon")
	u.fails(terminal.ExitUsage, "ID is \"first\"", "service", "sched-delete", "shop", "first")
	u.fails(terminal.ExitNotFound, "has no role \"nobody\"", "service", "action", "shop", "nobody", "reboot")
	u.fails(terminal.ExitNotFound, "has no role \"nobody\"", "service", "sched-delete", "shop", "nobody", "0")
}

const heldTemplate = `
name: held
deployment: none
roles:
  - {name: first, type: vm, cardinality: 1, template_id: 0, on_hold: true}
  - {name: second, type: vm, cardinality: 1, template_id: 0, on_hold: true, heal: {action: recreate, after: 5m}}
`

// checkHold releases the roles of a service that are on hold, one by its name and then all.
func (u user) checkHold(held string) {
	u.t.Helper()
	u.does("template", "create", held)
	id := strings.TrimSpace(u.does("template", "instantiate", "held", "-o", "name"))
	poll.Until(u.t, "the service to be on hold", func() bool { return strings.Contains(u.does("service", "list", "--state", "HOLD"), "held") })
	has(u.t, "show", u.does("service", "show", "held"), "what to do  `flowjet service release "+id+"` lets the VMs on hold start")
	has(u.t, "release", u.does("service", "release", "held", "first", "--dry-run"), "role first: HOLD -> ")
	u.fails(terminal.ExitNotFound, "has no role \"nobody\"", "service", "release", "held", "nobody")
	has(u.t, "release", u.does("service", "release", "held", "first"), "service "+id+": the VMs of role first are released\n")
	poll.Until(u.t, "one role to run", func() bool {
		shown := u.does("service", "show", "held")
		return strings.Contains(shown, "first   RUNNING  1/1") && strings.Contains(shown, "second  HOLD     0/1")
	})
	has(u.t, "release", u.does("service", "release", "held", "--wait"), "it is RUNNING\n")
	has(u.t, "show", u.does("service", "show", "held", "-o", "json"), `"heal": "recreate after 5m`)
	has(u.t, "show", u.does("service", "show", "held", "-o", "wide"), "second  recreate after 5m0s, at most", "healed in the last hour: 0")
	u.does("service", "undeploy", "held", "--wait")
	u.does("template", "delete", "held")
}

// checkStatuses holds what scripts rely on.
func (u user) checkStatuses(web, password string) {
	u.t.Helper()
	u.fails(terminal.ExitNotFound, "there is no service \"nothing\"", "service", "show", "nothing")
	u.fails(terminal.ExitNotFound, "99", "service", "show", "99")
	u.fails(terminal.ExitNotFound, "service 3 has no role \"nobody\"", "service", "scale", "shop", "nobody", "1")
	u.fails(terminal.ExitFailed, "max_vms is 4", "service", "scale", "shop", "front", "9")
	u.fails(terminal.ExitUsage, "`flowjet template --help` lists all", "template", "nonsense")
	u.fails(terminal.ExitUsage, "whole number", "service", "scale", "shop", "front", "many")
	u.fails(terminal.ExitUsage, "--state is \"foo\": there are PENDING, ", "service", "list", "--state", "foo")
	u.fails(terminal.ExitUsage, "\"xml\" is not one of table, wide, name, json, yaml", "service", "list", "-o", "xml")
	u.fails(terminal.ExitUsage, "it is `flowjet service scale SERVICE ROLE NUMBER", "service", "scale", "shop")
	u.fails(terminal.ExitUsage, "no such file", "template", "create", "/nowhere.yaml")
	u.fails(terminal.ExitUsage, "is not an object in YAML or JSON", "template", "create", password)
	u.fails(terminal.ExitUsage, `"owner_id" is "oneadmin", which is not the name of a user or group that you may see`, "service", "chown", "shop", "oneadmin")
	u.fails(terminal.ExitUsage, "NAME=id:5", "template", "instantiate", "web", "--network", "public=5", "--input-file", "ADMIN="+password)
	u.fails(terminal.ExitUsage, "no role \"nobody\"", "template", "instantiate", "web", "--cardinality", "nobody=5", "--input-file", "ADMIN="+password)
	u.fails(terminal.ExitUnreachable, "the API at http://127.0.0.1:1 does not answer", "service", "list", "--endpoint", "http://127.0.0.1:1")
	u.fails(terminal.ExitUsage, "is not the address of an API", "service", "list", "--endpoint", "nonsense")
	u.fails(terminal.ExitUsage, "set another file with ONE_AUTH or --auth-file", "service", "list", "--auth-file", "/nowhere")
	u.fails(terminal.ExitUsage, "user:password", "service", "list", "--auth-file", web)
	u.fails(terminal.ExitTimeout, "did not reach RUNNING within 1ns and continues", "service", "scale", "shop", "front", "2", "--wait", "--timeout", "1ns", "-o", "json")
	poll.Until(u.t, "the cooldown to end", func() bool { return strings.Contains(u.does("service", "list", "--state", "RUNNING"), "shop") })
	wrong := filepath.Join(filepath.Dir(web), "wrong")
	if err := os.WriteFile(wrong, []byte("alice:wrong"), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.fails(terminal.ExitFailed, "does not accept the credentials of user \"alice\"", "service", "list", "--auth-file", wrong)
}

// checkLists: as with oneflow, a list of ids stands for each of them.
func (u user) checkLists(plain string) {
	u.t.Helper()
	u.does("template", "create", plain)
	out := u.does("service", "instantiate", "plain", "--multiple", "3", "--wait", "--idempotency-key", "three", "-o", "name")
	made := strings.Fields(out)
	if len(made) != 3 || made[0] == made[1] || u.does("service", "instantiate", "plain", "--multiple", "3", "--idempotency-key", "three", "-o", "name") != out {
		u.t.Fatalf("three services are %q", out)
	}
	list := made[0] + "," + made[1] + ".." + made[2]
	has(u.t, "chmod", u.does("service", "chmod", list, "640"), "service "+made[0]+": its permissions are 640", "service "+made[2]+": its permissions are 640")
	if lines := strings.Split(strings.TrimSpace(u.does("service", "chgrp", list, "users", "-o", "json")), "\n"); len(lines) != 3 || !json.Valid([]byte(lines[2])) {
		u.t.Errorf("in JSON three changes are %q", lines)
	}
	_, failed, ended := u.types("service", "undeploy", made[0]+",99999", "--wait")
	if ended != terminal.ExitFailed || failed != "flowjet: there is no service 99999\nflowjet: 1 of 2 changes failed\n" {
		u.t.Errorf("undeploy of one that is there and one that is not ends with %d: %s", ended, failed)
	}
	has(u.t, "undeploy", u.does("service", "delete", made[1]+".."+made[2], "--wait"), "service "+made[1]+": it is gone", "service "+made[2]+": it is gone")
	u.fails(terminal.ExitUsage, "must be a list of at most 1000 ids", "service", "undeploy", "5..3")
	u.fails(terminal.ExitUsage, "must be a list of at most 1000 ids", "service", "undeploy", "1,0..999")
	u.fails(terminal.ExitUsage, "--timeout is -1s: it must be 0s or more", "service", "undeploy", made[0], "--wait", "--timeout", "-1s")
	twice := u.does("service", "instantiate", "plain", "-o", "name", "--wait")
	has(u.t, "undeploy", u.does("service", "undeploy", strings.TrimSpace(twice)+","+strings.TrimSpace(twice), "--wait"), "it is gone")
	u.fails(terminal.ExitUsage, "--multiple is 0: it must be 1 to 1000", "service", "instantiate", "plain", "--multiple", "0")
	has(u.t, "purge-done", u.does("service", "purge-done"), "documents of services in DONE are removed")
}

// checkOthers: what is not his, a user may not change.
func (u user) checkOthers(admin user) {
	u.t.Helper()
	u.fails(terminal.ExitFailed, "flowjet: change the owner of service 3: oned refused", "service", "chown", "shop", "0")
	has(u.t, "chown", admin.does("service", "chown", "shop", "0", "0"), "its owner is user 0")
	u.fails(terminal.ExitFailed, "", "service", "scale", "3", "worker", "1")
	has(u.t, "chown", admin.does("service", "chown", "3", "alice", "users"), "its owner is user alice")
	poll.Until(u.t, "the service to be alice's again", func() bool {
		_, _, status := u.types("service", "scale", "shop", "worker", "2", "--wait")
		return status == 0
	})
}

// checkShapes holds that nothing that the API tells of a service is lost in JSON.
func (u user) checkShapes(c cloud) {
	u.t.Helper()
	request, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, "http://"+c.api+"/flowjet/v1/services/3", http.NoBody)
	if err != nil {
		u.t.Fatal(err)
	}
	request.SetBasicAuth("alice", "alice")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		u.t.Fatal(err)
	}
	defer answer.Body.Close()
	var told, shown map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
		u.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(u.does("service", "show", "3", "-o", "json")), &shown); err != nil {
		u.t.Fatal(err)
	}
	delete(told, "graph") // a drawing for the page
	for _, path := range lost("", told, shown) {
		u.t.Errorf("service show -o json lacks %s", path)
	}
}

// lost are the paths of what one JSON value has and the other has not.
func lost(path string, told, shown any) (missing []string) {
	switch told := told.(type) {
	case map[string]any:
		other, _ := shown.(map[string]any)
		for name, value := range told {
			if _, found := other[name]; !found {
				missing = append(missing, path+"."+name)
				continue
			}
			missing = append(missing, lost(path+"."+name, value, other[name])...)
		}
	case []any:
		other, _ := shown.([]any)
		for i, value := range told {
			if i < len(other) {
				missing = append(missing, lost(path+"[]", value, other[i])...)
			}
		}
	}
	return missing
}

// TestTenantWatches: --watch goes on until Ctrl-C, and tells what changes.
func TestTenantWatches(t *testing.T) {
	c := newCloud(t)
	c.up(t)
	admin := newTenant(t, c, "oneadmin:opennebula")
	service := c.instantiate(t, `{"name": "hello", "roles": [{"name": "a", "type": "vm", "cardinality": 1, "template_id": 0, "cooldown": 5}]}`)
	poll.Until(t, "the service to run", func() bool { return c.state(t, service) == 2 })
	flags := []string{"--endpoint", "http://" + c.api, "--auth-file", filepath.Join(c.data, "simulated-one_auth")}
	list := start(t, append([]string{"service", "list", "--watch"}, flags...)...)
	list.says("hello")
	one := start(t, append([]string{"service", "show", "hello", "--watch"}, flags...)...)
	one.says("New state: RUNNING")
	has(t, "scale", admin.does("service", "scale", "hello", "a", "2"), "role a is set to 2 VMs")
	list.says("COOLDOWN")
	one.says("SCALING -> COOLDOWN")
	if _, err := list.interrupt(); err != nil {
		t.Errorf("Ctrl-C ends the list with %v", err)
	}
	poll.Until(t, "the cooldown to end", func() bool { return c.state(t, service) == 2 })
	admin.does("service", "delete", "hello", "--wait")
	one.says("UNDEPLOYING -> DONE")
	one.wait() // its service has ended
	if one.err != nil {
		t.Errorf("it ends with %v", one.err)
	}
	if out := admin.does("service", "ls"); !strings.Contains(out, "There are no such services") {
		t.Errorf("the list is %s", out)
	}
}

// clockOrAge is what differs from run to run on the page.
var clockOrAge = regexp.MustCompile(`\d\d:\d\d:\d\d [A-Z]+|\b\d+m?s\b|host\d`)

// TestTenantPage runs every command of docs/cli.md, in the page's order, and holds what the page shows.
func TestTenantPage(t *testing.T) {
	examples := readCommands(t, tenantPage, "flowjet ")
	page, err := os.ReadFile(tenantPage)
	if err != nil {
		t.Fatal(err)
	}
	_, web, _ := strings.Cut(string(page), "```yaml\n")
	web, _, _ = strings.Cut(web, "```")
	c := newCloud(t)
	c.up(t)
	alice := newTenant(t, c, "alice:alice")
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"web.yaml": web, "password.txt": "secret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := func(text string) []string {
		var all []string
		for line := range strings.Lines(clockOrAge.ReplaceAllString(text, "T")) {
			all = append(all, strings.Join(strings.Fields(line), " "))
		}
		return all
	}

	if len(examples) < 8 {
		t.Errorf("the page shows %d commands", len(examples))
	}
	for _, example := range examples {
		shown, got := lines(example.output), lines(alice.does(strings.Fields(example.command)[1:]...))
		// VMs that run or end at a time do so in any order.
		slices.Sort(shown)
		slices.Sort(got)
		if !slices.Equal(shown, got) {
			t.Errorf("%s: the page shows\n%s\nand it writes\n%s", example.command, strings.Join(shown, "\n"), strings.Join(got, "\n"))
		}
	}
}
