package template

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
)

// refusedContents is what is said of template_contents when a template is made.
func refusedContents(t *testing.T, before, contents string) string {
	t.Helper()
	_, err := Read([]byte(`{"name":"s",`+before+`"roles":[{"name":"web","type":"vm","template_id":0,"template_contents":`+contents+`}]}`), registered)
	if err == nil {
		return ""
	}
	return err.Error()
}

// A network that nobody declares is found when the template is made, changed or instantiated.
func TestUnknownNetworksInContents(t *testing.T) {
	const where = `roles[0].template_contents (role "web"): `
	const networks = `"networks":{"Public":"M|network|p| |id:","Own":"M|network|o| |template_id:0"},`
	for name, test := range map[string]struct{ before, contents, message string }{
		"none declared":        {``, `{"NIC":[{"NETWORK_ID":"$typo"}]}`, where + `NIC refers to the network $typo, which is not declared: there are no "networks"`},
		"others declared":      {networks, `{"NIC":[{"NETWORK_ID":"$Public"},{"NETWORK_ID":"$public"}]}`, where + `NIC refers to the network $public, which is not declared; "networks" has Own, Public`},
		"one NIC":              {networks, `{"NIC":{"NETWORK_ID":"$typo"}}`, `$typo`},
		"an alias":             {networks, `{"NIC_ALIAS":[{"NETWORK_ID":"$typo","PARENT":"NIC0"}]}`, `NIC_ALIAS refers to the network $typo`},
		"a device":             {networks, `{"PCI":[{"NETWORK_ID":"$typo"}]}`, `PCI refers to the network $typo`},
		"with blanks":          {networks, `{"nic":[{"NETWORK_ID":" $typo "}]}`, `refers to the network $typo`},
		"a name and no id":     {networks, `{"NIC":[{"NETWORK_ID":"private"}]}`, "the NETWORK_ID of NIC must be a network's id"},
		"less than any id":     {networks, `{"NIC":[{"NETWORK_ID":-1}]}`, "the NETWORK_ID of NIC must be a network's id"},
		"declared":             {networks, `{"NIC":[{"NETWORK_ID":"$Public"},{"NETWORK_ID":" $Own"}]}`, ``},
		"an id":                {``, `{"NIC":[{"NETWORK_ID":0},{"NETWORK_ID":"1"},{"NETWORK":"$private"},{"NETWORK_MODE":"auto"},{"NETWORK_ID":""}]}`, ``},
		"chosen, not declared": {`"networks_values":[{"Priv":{"id":"1"}}],`, `{"NIC":[{"NETWORK_ID":"$Priv"}]}`, ``},
		"an input":             {`"user_inputs":{"NET":"M|text"},`, `{"NIC":[{"NETWORK_ID":"$NET"}]}`, ``},
		"an input of 6":        {`"custom_attrs":{"NET":"M|text"},`, `{"NIC":[{"NETWORK_ID":"$NET"}]}`, ``},
		"a network in braces":  {networks, `{"NIC":[{"NETWORK_ID":"${Public}"}]}`, "the NETWORK_ID of NIC must be a network's id, or $NAME"},
		"of a parent's VM":     {``, `{"NIC":[{"NETWORK_ID":"${db.TEMPLATE.NIC.NETWORK_ID}"}]}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusedContents(t, test.before, test.contents)
			if test.message == "" && got != "" || !strings.Contains(got, test.message) {
				t.Errorf("got %q, want %q", got, test.message)
			}
		})
	}
	if got := refusedContents(t, `"user_inputs":{},`, `{"NIC":[{"NETWORK_ID":"$typo"}]}`); !strings.Contains(got, "$typo") {
		t.Errorf("got %q", got)
	}
	const held = `{"name":"s","roles":[{"name":"web","type":"vm","cardinality":1,"template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$typo"}]}}],"registration_time":1}`
	_, instantiated := Instantiate([]byte(held), nil, registered)
	_, appended := Append([]byte(`{"name":"s","roles":[],"registration_time":1}`), []byte(held[:len(held)-len(`,"registration_time":1}`)]+"}"), registered)
	_, replaced := Replace([]byte(held), []byte(held), registered)
	for name, err := range map[string]error{"instantiate": instantiated, "append": appended, "replace": replaced} {
		if err == nil || !strings.Contains(err.Error(), `(role "web"): NIC refers to the network $typo`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Instantiate([]byte(held), json.RawMessage(`{"networks_values":[{"typo":{"id":"3"}}]}`), registered); err != nil {
		t.Errorf("with a value for it: %v", err)
	}
}

// Old contents, which are a text, are held to the same, but where a template leaves it open
// which networks there are.
func TestUnknownNetworksInContentsOfOneFlow6(t *testing.T) {
	const roles = `"roles":[{"name":"web","cardinality":1,"vm_template":0,"vm_template_contents":"NIC=[NAME=\"N\",NETWORK_ID=\"$typo\"]"}]}`
	_, err := Read([]byte(`{"name":"s","networks":{"Public":"M|network|p| |id:0"},`+roles), registered)
	if err == nil || !strings.Contains(err.Error(), `(role "web"): NIC refers to the network $typo, which is not declared; "networks" has Public`) {
		t.Errorf("got %v", err)
	}
	open := []byte(`{"name":"s",` + roles)
	if _, err := Read(open, registered); err != nil {
		t.Errorf("without networks: %v", err)
	}
	if _, err = Instantiate(open, nil, registered); err == nil || !strings.Contains(err.Error(), "$typo") {
		t.Errorf("instantiated: %v", err)
	}
}

// An optional network that was not chosen is told when a role needs it.
func TestOptionalNetworksThatAreNotChosen(t *testing.T) {
	const template = `{"name":"s","networks":{"A":"O|network|a| |id:","B":"O|network|b| |id:"},"roles":[
		{"name":"web","type":"vm","template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$A"}]}}]}`
	_, err := Instantiate([]byte(template), nil, registered)
	if err == nil || !strings.Contains(err.Error(), `roles[0].template_contents (role "web"): NIC needs the network $A, which is not chosen`) || strings.Contains(err.Error(), "$B") {
		t.Errorf("got %v", err)
	}
	if _, err = Instantiate([]byte(template), json.RawMessage(`{"networks_values":[{"A":{"id":1}},{"B":{"id":1}}]}`), registered); err != nil {
		t.Errorf("with values: %v", err)
	}
}

// What oned could not read is refused before any of it is made.
func TestContentsThatOnedCannotRead(t *testing.T) {
	const where = `roles[0].template_contents (role "web"): `
	for contents, message := range map[string]string{
		`{"A B":"1"}`:                            where + `the attribute "A B" is not possible in OpenNebula`,
		`{"CONTEXT":{"A B":"1"}}`:                where + `the attribute "A B" in CONTEXT is not possible`,
		`{"A-B":"1"}`:                            `"A-B"`,
		`{"A.B":"1"}`:                            `"A.B"`,
		`{"":"1"}`:                               `the attribute ""`,
		`{"É":"1"}`:                              `"É"`,
		`{"A=\"x\"\nVROUTER":"YES"}`:             `is not possible`,
		`{"DISK":[{"SIZE":1},{"a b":1}]}`:        `"a b" in DISK`,
		`{"CONTEXT":{"2ND_DNS":"1"}}`:            `"2ND_DNS" in CONTEXT`,
		`{"CONTEXT":{"":"1"}}`:                   `"" in CONTEXT`,
		`{"RAW":{"DATA":"<![CDATA[s]]>"}}`:       `the attribute DATA in RAW contains "]]>"`,
		`{"SECRET":"s]]>"}`:                      `the attribute SECRET contains "]]>", which oned cannot store`,
		`{"CONTEXT":{"SECRET":"s\ud83d\ude00"}}`: `the attribute SECRET in CONTEXT contains an emoji or another character above U+FFFF`,
		`{"CONTEXT":{"SECRET":"s\u0001"}}`:       `the attribute SECRET in CONTEXT contains a control character`,
		`{"LABELS":["a","s\u001b"]}`:             `the attribute LABELS contains a control character`,

		`{"CONTEXT":{"START_SCRIPT":"host=$(hostname)"}}`: where + `the attribute START_SCRIPT in CONTEXT has a $ that oned cannot read: $NAME is a variable, ${PARENT.PATH} a value of a parent role's VM; write \$ for any other`,
		`{"CONTEXT":{"A":"${HOME}"}}`:                     `the attribute A in CONTEXT has a $`,
		`{"CONTEXT":{"A":"5 $"}}`:                         `the attribute A in CONTEXT has a $`,
		`{"CONTEXT":{"A":"\\\\$(x)"}}`:                    `the attribute A in CONTEXT has a $`,
		`{"CONTEXT":{"A":"${db.NAME}"}}`:                  `the attribute A in CONTEXT has a $`,
		`{"SCHED_REQUIREMENTS":"NAME = $(x)"}`:            `the attribute SCHED_REQUIREMENTS has a $`,

		`{"CONTEXT":{"A":"\\$(x) $A-$B[C, D=E] $1 \\\\$NAME"},"RAW":{"DATA":"$(x) $"},"LABELS":"${HOME}$"}`:        ``,
		`{"2ND_DNS":"1","-A":"1","_B":"1","context":{"a":"1\n2\t","x-":"]"},"EMPTY":"","N":null,"L":[1,"a",true]}`: ``,
	} {
		got := refusedContents(t, ``, contents)
		if message == "" && got != "" || !strings.Contains(got, message) {
			t.Errorf("%s: got %q, want %q", contents, got, message)
		}
		if strings.Contains(got, "CDATA") || strings.Contains(got, "s]]>") {
			t.Errorf("%s: the value is shown: %s", contents, got)
		}
	}
}

func TestInputsThatOnedCannotRead(t *testing.T) {
	for body, message := range map[string]string{
		`"user_inputs":{"A B":"M|text"},"roles":[]`:                                    `user_inputs: has the name "A B"`,
		`"user_inputs":{"2ND_DNS":"O|text"},"roles":[]`:                                `user_inputs: has the name "2ND_DNS"`,
		`"user_inputs_values":{"A=B":"x"},"roles":[]`:                                  `user_inputs_values: has the name "A=B"`,
		`"user_inputs_values":{"A":"x]]>"},"roles":[]`:                                 `user_inputs_values: the value of A contains "]]>"`,
		`"user_inputs_values":{"A":"x\ud83d\ude00"},"roles":[]`:                        `user_inputs_values: the value of A contains an emoji`,
		`"user_inputs":{"A":"O|text|a| |x]]>"},"roles":[]`:                             `user_inputs: the default of A contains "]]>"`,
		`"roles":[{"name":"web","type":"vm","template_id":0,"user_inputs":{"É":"M"}}]`: `roles[0].user_inputs (role "web"): has the name "É"`,
	} {
		_, err := Read([]byte(`{"name":"s",`+body+`}`), registered)
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: got %v, want %s", body, err, message)
		}
	}
}

// What a network is to be made with has to be a template's text.
func TestNetworksThatOnedCannotRead(t *testing.T) {
	for body, message := range map[string]string{
		`"networks_values":[{"N":{"template_id":"0","extra":"AR=[TYPE=IP4,IP"}}]`: `networks_values: has an "extra" for network "N" that cannot be read: line 1`,
		`"networks_values":[{"N":{"reserve_from":0,"extra":"A B=1"}}]`:            `networks_values: has an "extra" for network "N" that cannot be read`,
		`"networks":{"L<>&":"M|network|n| |template_id:0"}`:                       `networks: has the name "L<>&": oned refuses network names`,
		`"networks":{"N":"M|network|n| |reserve_from:0:SIZE=2 IP 10.0.0.9"}`:      `networks.N: cannot be read: line 1`,
		`"networks":{"\ud83d\ude00":"M|network|n| |template_id:0"}`:               `networks: has the name "😀", which contains an emoji`,
		`"networks_values":[{"N":{"template_id":"0","extra":"DESC=x]]>"}}]`:       `that cannot be read: it contains "]]>"`,
		`"networks_values":[{"a/b":{"reserve_from":0,"extra":"SIZE=1"}}]`:         `networks_values: has the name "a/b"`,
		`"networks":{"a/b":"M|network|n| |id:0"}`:                                 ``,
		`"networks":{"N":"M|network|n| |template_id:0:AR=[SIZE=1]]"}`:             `networks.N: cannot be read`,
		`"networks":{"N":"M|network|n| |template_id:0:AR=[SIZE=1"}`:               `networks.N: cannot be read`,

		`"networks":{"N":"M|network|n| |template_id:0:AR=[TYPE=IP4,IP=10.0.0.1,SIZE=5] DESC='x"}`: ``,
		`"networks_values":[{"N":{"reserve_from":0,"extra":"SIZE=5"}}]`:                           ``,
	} {
		_, err := Read([]byte(`{"name":"s","roles":[],`+body+`}`), registered)
		if message == "" && err != nil || message != "" && (err == nil || !strings.Contains(err.Error(), message)) {
			t.Errorf("%s: got %v, want %s", body, err, message)
		}
	}
	// In a running service they have been made.
	body := spec.Body{Name: "s", Roles: []spec.Role{}, State: new(spec.ServiceRunning), NetworksValues: []byte(`[{"N":{"template_id":"0","id":7,"extra":"AR=["}}]`)}
	if found := Validate(body); found != nil {
		t.Error(found)
	}
}

// A role that is added is held against what its service declares.
func TestAddedRolesAreHeldAgainstTheirService(t *testing.T) {
	held := mustParse(t, `{"name":"s","networks_values":[{"Priv":{"id":"1"}}],"user_inputs":{"NET":"M|text"},"roles":[]}`)
	for contents, message := range map[string]string{
		`{"NIC":[{"NETWORK_ID":"$typo"}]}`:                         `role.template_contents (role "new"): NIC refers to the network $typo, which is not declared`,
		`{"CONTEXT":{"A B":"1"}}`:                                  `role.template_contents (role "new"): the attribute "A B" in CONTEXT`,
		`{"NIC":[{"NETWORK_ID":"$Priv"},{"NETWORK_ID":"$NET"}]}`:   ``,
		`{"NIC":{"NETWORK_ID":"2"},"CONTEXT":{"N":"$NAME $typo"}}`: ``,
	} {
		_, err := ReadRole(json.RawMessage(`{"name":"new","type":"vm","template_id":0,"template_contents":`+contents+`}`), held, registered)
		var found Violations
		if message == "" && err != nil || message != "" && (!errors.As(err, &found) || !strings.HasPrefix(found[0].Message, message)) {
			t.Errorf("%s: got %v, want %s", contents, err, message)
		}
	}
}
