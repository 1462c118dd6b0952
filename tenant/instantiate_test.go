package tenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/terminal"
)

// withInputs is a template with an input of each kind that matters here.
const withInputs = `{"templates":[{"id":7,"name":"web",
	"inputs":[
		{"name":"SIZE","type":"list","mandatory":true,"options":["1","2"],"default":"2","description":"How large"},
		{"name":"ADMIN","type":"password","mandatory":true,"description":"The admin's password"},
		{"name":"NOTE","type":"text64","mandatory":false},
		{"name":"COLOUR","type":"list","mandatory":true,"options":["red\u001b","blue"]}],
	"networks":[{"name":"Priv","from":"template_id","of":"5"},{"name":"Pub","from":"id","of":"1"},{"name":"Any"}],
	"roles":[{"name":"front","cardinality":1,"inputs":[{"name":"KEY","type":"text64","mandatory":true}]},{"name":"back","cardinality":2}]}]}`

// instantiable is a cloud with that template.
func instantiable(t *testing.T) *cloud {
	t.Helper()
	return newCloud(t, map[string]http.HandlerFunc{
		"GET /templates":                  answering(http.StatusOK, withInputs),
		"POST /service_template/7/action": answering(http.StatusCreated, `{"DOCUMENT":{"ID":"9","NAME":"web"}}`),
	})
}

// merged is what the last instantiation has asked for beside the template.
func (c *cloud) merged() string {
	c.t.Helper()
	all := c.changes()
	if len(all) == 0 {
		c.t.Fatal("nothing was instantiated")
	}
	params := all[len(all)-1].body["action"].(map[string]any)["params"].(map[string]any)
	text, err := json.Marshal(params["merge_template"])
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// A person is asked for what is needed and has no default, once each, and not shown while he
// types a password.
func TestMissingInputsAreAskedFor(t *testing.T) {
	t.Parallel()
	c := instantiable(t)
	var questions []string
	c.ask = func(question string, secret bool) (string, error) {
		questions = append(questions, fmt.Sprintf("%s%t", question, secret))
		return map[bool]string{true: "very secret", false: "blue"}[secret], nil
	}
	c.does("template", "instantiate", "web")
	want := "ADMIN (The admin's password): true|COLOUR [red\uFFFD, blue]: false|front.KEY: false"
	if got := strings.Join(questions, "|"); got != want {
		t.Errorf("asked is\n%q\nwant\n%q", got, want)
	}
	if got, want := c.merged(), `{"roles":[{"name":"front","user_inputs_values":{"KEY":"Ymx1ZQ=="}}],"user_inputs_values":{"ADMIN":"very secret","COLOUR":"blue","SIZE":"2"}}`; got != want {
		t.Errorf("sent is\n%s\nwant\n%s", got, want)
	}
}

// Without anybody to ask the error says how to give the value, and nothing is made.
func TestMissingInputsInAScript(t *testing.T) {
	t.Parallel()
	c := instantiable(t)
	password := c.file("password", "very secret\r\n")
	c.fails(terminal.ExitUsage, "user input ADMIN (password) is mandatory: set it with --input-file ADMIN=PATH", "template", "instantiate", "web")
	c.fails(terminal.ExitUsage, "user input COLOUR (list) is mandatory: set it with --input COLOUR=VALUE", "template", "instantiate", "web", "--input-file", "ADMIN="+password)
	c.fails(terminal.ExitUsage, "user input front.KEY (text64) is mandatory", "template", "instantiate", "web", "--input-file", "ADMIN="+password, "--input", "COLOUR=red")
	c.fails(terminal.ExitUsage, "ADMIN is a password, which others could see on a command line", "template", "instantiate", "web", "--input", "ADMIN=very secret")
	c.ask = func(string, bool) (string, error) { return "", errors.New("read the answer: EOF") }
	c.fails(terminal.ExitFailed, "read the answer: EOF", "template", "instantiate", "web")
	if sent := c.changes(); len(sent) > 0 {
		t.Errorf("it sends %v", sent)
	}
}

// What is given goes before what the template proposes, and a file's values stay beside it.
func TestGivenValues(t *testing.T) {
	t.Parallel()
	c := instantiable(t)
	password, key := c.file("password", "very secret\r\n"), c.file("key", "line 1\nline 2\n")
	enough := []string{"--input-file", "ADMIN=" + password, "--input", "COLOUR=red=dark", "--input-file", "front.KEY=" + key}
	inputs := `"user_inputs_values":{"ADMIN":"very secret","COLOUR":"red=dark","SIZE":"%s"}`
	front := `{"name":"front","user_inputs_values":{"KEY":"bGluZSAxCmxpbmUgMg=="}}`
	file := c.file("more.yaml", `
description: A shop
user_inputs_values: {SIZE: "1", NOTE: plain}
roles:
  - {name: front, min_vms: 1, user_inputs_values: {KEY: given}}
`)
	for _, test := range []struct {
		line []string
		want string
	}{
		{enough, `{"roles":[` + front + `],` + fmt.Sprintf(inputs, "2") + `}`},
		{append(enough, "--input", "SIZE=1"), `{"roles":[` + front + `],` + fmt.Sprintf(inputs, "1") + `}`},
		{append(enough, "--input", "NOTE=hi", "--cardinality", "back=0"), `{"roles":[` + front + `,{"cardinality":0,"name":"back"}],"user_inputs_values":{"ADMIN":"very secret","COLOUR":"red=dark","NOTE":"aGk=","SIZE":"2"}}`},
		{append(enough, "--network", "Priv=id:8"), `{"networks_values":[{"Priv":{"id":"8"}},{"Pub":{"id":"1"}}],"roles":[` + front + `],` + fmt.Sprintf(inputs, "2") + `}`},
		{append(enough, "--network", "Any=reserve_from:2", "--network", "Pub=template_id:3"),
			`{"networks_values":[{"Any":{"reserve_from":"2"}},{"Pub":{"template_id":"3"}},{"Priv":{"template_id":"5"}}],"roles":[` + front + `],` + fmt.Sprintf(inputs, "2") + `}`},
		{[]string{file, "--input-file", "ADMIN=" + password, "--input", "COLOUR=red", "--name", "shop", "--cardinality", "front=3"},
			`{"description":"A shop","name":"shop","roles":[{"cardinality":3,"min_vms":1,"name":"front","user_inputs_values":{"KEY":"given"}}],"user_inputs_values":{"ADMIN":"very secret","COLOUR":"red","NOTE":"plain","SIZE":"1"}}`},
		{append([]string{file, "--input", "SIZE=2"}, enough...),
			`{"description":"A shop","roles":[{"min_vms":1,"name":"front","user_inputs_values":{"KEY":"bGluZSAxCmxpbmUgMg=="}}],"user_inputs_values":{"ADMIN":"very secret","COLOUR":"red=dark","NOTE":"plain","SIZE":"2"}}`},
	} {
		c.does(append([]string{"service", "instantiate", "web"}, test.line...)...)
		if got := c.merged(); got != test.want {
			t.Errorf("%v sends\n%s\nwant\n%s", test.line, got, test.want)
		}
	}
}

// The template for people, and for a file in the form that create takes.
func TestShowingATemplate(t *testing.T) {
	t.Parallel()
	c := instantiable(t)
	c.answers["GET /service_template/7"] = answering(http.StatusOK, `{"DOCUMENT":{"TEMPLATE":{"BODY":{"name":"web","roles":[]}}}}`)
	out := c.does("template", "show", "web")
	for _, want := range []string{"Service template 7  web\n", "SIZE", "1,2", "How large", "ADMIN", "password", "front.KEY", "Priv", "back"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("it has control characters: %q", out)
	}
	if text := c.does("template", "show", "7", "-o", "json"); strings.Join(strings.Fields(text), "") != `{"name":"web","roles":[]}` {
		t.Errorf("as JSON it is %s", text)
	}
	if text := c.does("template", "show", "7", "-o", "yaml"); text != "name: web\nroles: []\n" {
		t.Errorf("as YAML it is %q", text)
	}
	if names := c.does("template", "list", "-o", "name"); names != "7\n" {
		t.Errorf("the names are %q", names)
	}
	if rows := c.does("template", "list"); !strings.Contains(rows, "front:1 back:2  5       3") {
		t.Errorf("the list is %s", rows)
	}
	c.fails(terminal.ExitNotFound, `there is no service template "shop"`, "template", "show", "shop")
}

// What a shell offers is what could be typed there; without an API it offers nothing, and says nothing.
func TestCompletion(t *testing.T) {
	t.Parallel()
	c := instantiable(t)
	c.answers["GET /services"] = list(row(3, "web", "alice", "RUNNING"), row(4, "two words", "alice", "WARNING"))
	c.answers["GET /services/3"] = answering(http.StatusOK, `{"id":3,"roles":[{"name":"front","state":"RUNNING","running":1,"wanted":2}]}`)
	flags := []string{"--endpoint", c.url, "--auth-file", c.file("auth", "alice:secret\n")}
	offered := func(words ...string) string {
		out, _, err := c.typesRaw(append(append([]string{"__complete"}, words[:2]...), append(flags, words[2:]...)...)...)
		if err != nil {
			t.Errorf("%v: %v", words, err)
		}
		text, _, _ := strings.Cut(out, ":")
		return text
	}
	for _, test := range []struct {
		words []string
		want  string
	}{
		{[]string{"service", "show", ""}, "3\tweb RUNNING\nweb\t3 RUNNING\n4\ttwo words WARNING\n"},
		{[]string{"service", "scale", "web", ""}, "front\tRUNNING 1/2\n"},
		{[]string{"service", "scale", "web", "front", ""}, ""},
		{[]string{"service", "scale", "nothing", ""}, ""},
		{[]string{"service", "undeploy", "web", ""}, ""},
		{[]string{"template", "instantiate", "web", "--cardinality", ""}, "front=\t1 VMs\nback=\t2 VMs\n"},
		{[]string{"template", "instantiate", "web", "--network", ""}, "Priv=\nPub=\nAny=\n"},
		{[]string{"template", "instantiate", "web", "--input", ""}, "SIZE=\tHow large\nADMIN=\tThe admin's password\nNOTE=\nCOLOUR=\nfront.KEY=\n"},
		{[]string{"template", "instantiate", "--input", ""}, ""},
	} {
		if got := offered(test.words...); got != test.want {
			t.Errorf("%q offers %q, want %q", test.words, got, test.want)
		}
	}
	flags[1] = "http://127.0.0.1:1"
	if got := offered("service", "show", ""); got != "" {
		t.Errorf("without an API it offers %q", got)
	}
	flags[3] = "/nowhere/auth"
	if got := offered("service", "show", ""); got != "" {
		t.Errorf("without credentials it offers %q", got)
	}
}

// Files of YAML or JSON are objects; an error names the file and never shows what is in it.
func TestFilesAreReadAsObjects(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	for text, want := range map[string]string{
		"{\"a\": 1}\n": `{"a": 1}`, "a: 1\nb: [x]\n": `{"a":1,"b":["x"]}`, "a: 12345678901234567\n": `{"a":12345678901234567}`, "a: yes\n": `{"a":"yes"}`,
	} {
		got, err := readFile(c.file("f", text))
		if err != nil || string(got) != want {
			t.Errorf("%q is %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "- a\n", "PLANTED-secret", "5\n", "[1]", "a: [\n", "\t- x: PLANTED-secret", "null\n", " \n"} {
		path := c.file("f", text)
		got, err := readFile(path)
		if status, _ := terminal.ExitOf(err); status != terminal.ExitUsage || !strings.Contains(fmt.Sprint(err), path) || strings.Contains(fmt.Sprint(err), "PLANTED") || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
}

// A line is read without what follows it, which answers the next question.
func TestLinesOfAnswers(t *testing.T) {
	t.Parallel()
	in, err := os.Open(newCloud(t, nil).file("in", "first\r\nsecond\nrest"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, want := range []string{"first", "second"} {
		if got, err := readLine(in); got != want || err != nil {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	if got, err := readLine(in); err == nil {
		t.Errorf("an answer that ends early is %q", got)
	}
}
