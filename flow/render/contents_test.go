package render_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

// alpine is a VM template with a context and one NIC.
var alpine = one.Template{
	{Name: "CONTEXT", Vector: one.Template{{Name: "NETWORK", Value: "YES"}, {Name: "REPORT_READY", Value: "YES"}}},
	{Name: "CPU", Value: "0.01"}, {Name: "MEMORY", Value: "16"}, {Name: "NAME", Value: "alpine"},
	{Name: "NIC", Vector: one.Template{{Name: "NETWORK", Value: "private"}}},
}

// extraOf is the extra template of the first VM of the service's first role.
func extraOf(t *testing.T, body string, base one.Template, values map[string]string) string {
	t.Helper()
	parsed, err := spec.ParseBody([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: 27, Body: parsed}
	text, err := render.ExtraTemplate(service, render.Instance{Role: parsed.Roles[0].Name, Key: "k"}, base, values)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const marks = "SERVICE_ID = \"27\"\nROLE_NAME = \"a\"\nFLOWJET_KEY = \"k\"\nAS_UID = \"0\"\n"

func TestExtraTemplateMergesContents(t *testing.T) {
	const unmerged = "CPU = \"0.01\"\nMEMORY = \"16\"\n"
	const context = "CONTEXT = [\nNETWORK = \"YES\",\nREPORT_READY = \"YES\"\n]\n"
	const nic = "NIC = [\nNETWORK = \"private\"\n]\n"
	for name, test := range map[string]struct{ contents, want string }{
		"nothing":              {`{}`, ""},
		"an attribute more":    {`{"LOGO":"x"}`, context + unmerged + nic + "LOGO = \"x\"\n"},
		"an attribute instead": {`{"MEMORY":32}`, context + "CPU = \"0.01\"\nMEMORY = \"32\"\n" + nic},
		"objects merge": {
			`{"CONTEXT":{"NETWORK":"NO","DBUSER":"$DBUSER"}}`,
			"CONTEXT = [\nNETWORK = \"NO\",\nREPORT_READY = \"YES\",\nDBUSER = \"$DBUSER\"\n]\n" + unmerged + nic,
		},
		"arrays replace": {
			`{"NIC":[{"NAME":"N0","NETWORK_ID":1},{"NAME":"N1","NETWORK_ID":"2"}]}`,
			context + unmerged + "NIC = [\nNAME = \"N0\",\nNETWORK_ID = \"1\"\n]\nNIC = [\nNAME = \"N1\",\nNETWORK_ID = \"2\"\n]\n",
		},
		"added to the template's": {
			`{"APPEND":"NIC,DISK","NIC":[{"NETWORK_ID":"2"}],"MEMORY":"32"}`,
			context + "CPU = \"0.01\"\nMEMORY = \"32\"\n" + nic + "NIC = [\nNETWORK_ID = \"2\"\n]\n",
		},
		"an object instead of a text":    {`{"CPU":{"A":"1"}}`, context + "CPU = [\nA = \"1\"\n]\nMEMORY = \"16\"\n" + nic},
		"quotes are escaped":             {`{"MEMORY":"say \"hi\"","CPU":"C:\\"}`, context + "CPU = \"C:\\ \"\nMEMORY = \"say \\\"hi\\\"\"\n" + nic},
		"null empties":                   {`{"MEMORY":null,"NIC":[null],"CPU":{"A":null}}`, context + "CPU = [\nA = \"\"\n]\nMEMORY = \"\"\nNIC = \"\"\n"},
		"a name twice":                   {`{"MEMORY":1,"CPU":{"A":1,"A":2},"MEMORY":2,"NIC":[]}`, context + "CPU = [\nA = \"2\"\n]\nMEMORY = \"2\"\n"},
		"names in any case":              {`{"nic":[]}`, context + unmerged},
		"marks cannot be forged":         {`{"service_id":"1","FLOWJET_KEY":"x","MEMORY":1}`, context + "CPU = \"0.01\"\nMEMORY = \"1\"\n" + nic},
		"booleans, nothing and no value": {`{"A":true,"B":null,"CONTEXT":{}}`, context + unmerged + nic + "A = \"true\"\nB = \"\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"name":"x","roles":[{"name":"a","template_contents":` + test.contents + `}]}`
			if got := extraOf(t, body, alpine, nil); got != test.want+marks {
				t.Errorf("got\n%s\nwant\n%s", got, test.want+marks)
			}
		})
	}
}

func TestExtraTemplateOfSeveralNICs(t *testing.T) {
	twice := one.Template{
		{Name: "NIC", Vector: one.Template{{Name: "NETWORK_ID", Value: "1"}}}, {Name: "CPU", Value: "1"},
		{Name: "NIC", Vector: one.Template{{Name: "NETWORK_ID", Value: "2"}}},
	}
	got := extraOf(t, `{"name":"x","roles":[{"name":"a","template_contents":{"NIC":{"NETWORK_ID":"3"}}}]}`, twice, nil)
	if want := "NIC = [\nNETWORK_ID = \"3\"\n]\nCPU = \"1\"\n" + marks; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestUnreadableContentsAreAnError(t *testing.T) {
	service := spec.Service{Body: spec.Body{Roles: []spec.Role{{Name: "a", TemplateContents: []byte(`{"A":1}`)}}}}
	values := map[string]string{}
	if _, err := render.ExtraTemplate(service, render.Instance{Role: "a"}, nil, values); err != nil {
		t.Errorf("readable contents: %v", err)
	}
	service.Body.Roles[0].TemplateContents = []byte(`{"A":}`)
	if _, needed := render.NeedsTemplate(service, "a"); needed {
		t.Error("contents that are not JSON need a template")
	}
}

func TestReferencesToParents(t *testing.T) {
	body := `{"name":"x","deployment":"straight","roles":[
		{"name":"a","parents":["db"],"template_contents":{"ETCD":"http://${db.template.context.ETH0_IP}:1","SAME":"${db.template.context.ETH0_IP}",
			"OTHER":"${HOME} ${zz.x}","N":"${DB.NAME}"}},{"name":"db"}]}`
	parsed, err := spec.ParseBody([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: 27, Body: parsed}
	vm := one.Template{
		{Name: "NAME", Value: `q"uote`},
		{Name: "TEMPLATE", Vector: one.Template{{Name: "CONTEXT", Vector: one.Template{{Name: "ETH0_IP", Value: "10.0.0.7"}}}}},
		{Name: "USER_TEMPLATE", Vector: one.Template{{Name: "TOKEN", Value: "t"}}},
	}
	values := map[string]string{}
	for _, reference := range render.References(service, "a") {
		if reference.Parent != "db" {
			t.Errorf("%+v", reference)
		}
		values[reference.Text], _ = reference.Value(vm)
	}
	if len(values) != 2 {
		t.Fatalf("references: %v", values)
	}
	want := "ETCD = \"http://10.0.0.7:1\"\nSAME = \"10.0.0.7\"\nOTHER = \"${HOME} ${zz.x}\"\nN = \"q\\\"uote\"\n" + marks
	if got := extraOf(t, body, nil, values); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for path, want := range map[string]string{"token": "t", "USER_TEMPLATE.TOKEN": "t", "eth0_ip": "10.0.0.7", "CONTEXT.ETH0_IP": "10.0.0.7", "NAME": `q"uote`} {
		reference := render.Reference{Path: strings.Split(path, ".")}
		if value, found := reference.Value(vm); !found || value != want {
			t.Errorf("%s is %q, %v, want %q", path, value, found, want)
		}
	}
	if _, found := (render.Reference{Path: []string{"nope"}}).Value(vm); found {
		t.Error("what the VM has not was found")
	}
}
