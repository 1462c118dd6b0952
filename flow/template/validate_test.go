package template

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/effort"
)

var registered = time.Unix(1_800_000_000, 0)

func TestReadTemplateRefuses(t *testing.T) {
	role := func(more string) string {
		return `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0` + more + `}]}`
	}
	policy := func(p string) string { return role(`,"cardinality":1,"min_vms":1,"max_vms":3,` + p) }
	for name, test := range map[string]struct{ body, message string }{
		"no name":                   {`{"roles":[]}`, `name: is missing`},
		"name not text":             {`{"name":5,"roles":[]}`, `name: is 5; it must be a string`},
		"name with emoji":           {`{"name":"a\ud83d\ude00","roles":[]}`, `emoji and other characters above U+FFFF`},
		"name with control":         {`{"name":"a\u0001","roles":[]}`, `control characters`},
		"name of many bytes":        {`{"name":"` + strings.Repeat("é", 65) + `","roles":[]}`, `name: is too long; at most 128 bytes are possible`},
		"name with ]]>":             {`{"name":"a]]>b","roles":[]}`, `]]> are not possible in a name`},
		"no roles":                  {`{"name":"s"}`, `roles: is missing`},
		"roles null":                {`{"name":"s","roles":null}`, `roles: is missing`},
		"roles an object":           {`{"name":"s","roles":{}}`, `roles: is {}; it must be an array of objects`},
		"role a number":             {`{"name":"s","roles":[1]}`, `element 0 is 1`},
		"role null":                 {`{"name":"s","roles":[null]}`, `element 0 is null`},
		"deployment":                {`{"name":"s","deployment":"fancy","roles":[]}`, `deployment: is "fancy"; it can be none or straight`},
		"shutdown action":           {`{"name":"s","shutdown_action":"kill","roles":[]}`, `terminate, terminate-hard, shutdown or shutdown-hard`},
		"deployment empty":          {`{"name":"s","deployment":"","roles":[]}`, `deployment: is ""; it can be none or straight`},
		"shutdown action empty":     {`{"name":"s","shutdown_action":"","roles":[]}`, `shutdown_action: is ""; it can be terminate, terminate-hard`},
		"role's shutdown empty":     {role(`,"shutdown_action":""`), `.shutdown_action (role "a"): is ""; it can be terminate, terminate-hard`},
		"a step of 0":               {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU > 1","min_adjust_step":0}]`), `min_adjust_step (role "a"): is 0; it must be 1 or more`},
		"a scheduled step of 0":     {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"@daily","min_adjust_step":"0"}]`), `min_adjust_step (role "a"): is 0; it must be 1 or more`},
		"a start with blanks":       {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"start_time":" 1893456000"}]`), `start_time (role "a"): is " 1893456000"`},
		"a start with a sign":       {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"start_time":"+5"}]`), `which is not a time`},
		"no start at all":           {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"start_time":null,"recurrence":null}]`), `needs either "start_time" or "recurrence"`},
		"an unknown nickname":       {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"@reboot"}]`), `with 1 fields`},
		"gate a text":               {`{"name":"s","ready_status_gate":"yes","roles":[]}`, `ready_status_gate: is "yes"; it must be true or false`},
		"role without name":         {`{"name":"s","roles":[{"type":"vm","template_id":0}]}`, `roles[0].name: is missing`},
		"role name with blank":      {`{"name":"s","roles":[{"name":"a b","type":"vm","template_id":0}]}`, `only letters, digits and _`},
		"role without type":         {`{"name":"s","roles":[{"name":"a","template_id":0}]}`, `.type (role "a"): is missing`},
		"role of odd type":          {`{"name":"s","roles":[{"name":"a","type":"pod","template_id":0}]}`, `it can be vm or vr`},
		"role without template":     {`{"name":"s","roles":[{"name":"a","type":"vm"}]}`, `.template_id (role "a"): is missing`},
		"role with null template":   {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":null}]}`, `.template_id (role "a"): is missing`},
		"old role, null template":   {`{"name":"s","roles":[{"name":"a","vm_template":null}]}`, `.template_id (role "a"): is missing`},
		"template id odd":           {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":"x"}]}`, `is "x"; it must be a whole number`},
		"template id negative":      {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":-1}]}`, `.template_id (role "a"): is -1; it must be 0 or more`},
		"two roles of one name":     {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0},{"name":"a","type":"vm","template_id":0}]}`, `is also the name of role number 0`},
		"cardinality negative":      {role(`,"cardinality":-1`), `.cardinality (role "a"): is -1; it must be 0 or more`},
		"cardinality broken":        {role(`,"cardinality":1.5`), `must be a whole number`},
		"cardinality huge":          {role(`,"cardinality":1e30`), `must be a whole number`},
		"cardinality not a number":  {role(`,"cardinality":"NaN"`), `must be a whole number`},
		"min over cardinality":      {role(`,"cardinality":1,"min_vms":3`), `is 1, less than min_vms 3`},
		"max under cardinality":     {role(`,"cardinality":4,"max_vms":3`), `is 4, more than max_vms 3`},
		"min over max":              {role(`,"cardinality":4,"min_vms":5,"max_vms":3`), `.min_vms (role "a"): is 5, more than max_vms 3`},
		"cooldown negative":         {role(`,"cooldown":-3`), `.cooldown (role "a"): is -3; it must be 0 or more`},
		"own parent":                {role(`,"parents":["a"]`), `a role cannot be its own parent`},
		"unknown parent":            {role(`,"parents":["zz"]`), `has "zz", which is not a role`},
		"values of 6 a text":        {`{"name":"s","custom_attrs_values":"secret","roles":[]}`, `custom_attrs_values: is a string; it must be an object`},
		"values of 6, hidden":       {`{"name":"s","custom_attrs_values":"secret","user_inputs_values":{"A":"1"},"roles":[{"name":"a","vm_template":0}]}`, `custom_attrs_values: is a string; it must be an object`},
		"values of 6 in a role":     {role(`,"custom_attrs_values":["secret"]`), `custom_attrs_values (role "a"): is an array; it must be an object`},
		"inputs of 6 a text":        {role(`,"custom_attrs":"A"`), `custom_attrs (role "a"): is "A"; it must be an object`},
		"parents a text":            {role(`,"parents":"zz"`), `must be an array of strings`},
		"policy without limits":     {role(`,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU>1"}]`), `needs both min_vms and max_vms`},
		"policy not an object":      {policy(`"elasticity_policies":[1]`), `element 0 is 1`},
		"policy type":               {policy(`"elasticity_policies":[{"type":"X","adjust":1,"expression":"CPU>1"}]`), `elasticity_policies[0].type (role "a"): is "X"`},
		"policy without adjust":     {policy(`"elasticity_policies":[{"type":"CHANGE","expression":"CPU>1"}]`), `.adjust (role "a"): is missing`},
		"policy adjust huge":        {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":1000000000000,"expression":"CPU>1"}]`), `is 1000000000000; it must be a whole number from -2147483647 to 2147483647`},
		"policy adjust odd":         {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":"x","expression":"CPU>1"}]`), `.adjust (role "a"): is "x"; it must be a whole number`},
		"policy without expression": {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":1}]`), `.expression (role "a"): is missing`},
		"policy bad expression":     {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU >> 10 )"}]`), `at character 6: a number or an attribute's name was expected`},
		"policy period":             {policy(`"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU>1","period":-1}]`), `.period (role "a"): is -1`},
		"cron":                      {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"bogus"}]`), `a recurrence has five fields`},
		"cron field":                {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"0 0 32 * *"}]`), `field 3 (day of the month) cannot be "32"`},
		"cron of six fields":        {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"0 0 9 * * *"}]`), `a recurrence has five fields`},
		"both starts":               {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"0 9 * * *","start_time":"2030-01-01"}]`), `scheduled_policies[0] (role "a"): needs either`},
		"no start":                  {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1}]`), `needs either`},
		"odd start":                 {policy(`"scheduled_policies":[{"type":"CHANGE","adjust":1,"start_time":"soon"}]`), `.start_time (role "a"): is "soon"`},
		"networks an array":         {`{"name":"s","roles":[],"networks":[1]}`, `networks: is [1]; it must be an object`},
		"networks of numbers":       {`{"name":"s","roles":[],"networks":{"a":1}}`, `networks.a: is "1"; it must look like`},
		"network odd":               {`{"name":"s","roles":[],"networks":{"a":"net 0"}}`, `networks.a: is "net 0"`},
		"network values odd":        {`{"name":"s","roles":[],"networks_values":[{"a":{"id":"0","template_id":"1"}}]}`, `one of id, template_id and reserve_from`},
		"router without floating":   {`{"name":"s","roles":[{"name":"r","type":"vr","cardinality":2,"template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"0"}]}}]}`, `FLOATING_IP`},
		"old contents broken":       {`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"NIC=[NAME=\"x"}]}`, `line 1: a closing quote was expected`},
		"not JSON":                  {`{bad`, `the body is not JSON`},
		"empty":                     {" \n", `the body is empty`},
		"array":                     {`[]`, `the body is an array; it must be a JSON object`},
		"null":                      {`null`, `the body is null`},
		"text":                      {`"x"`, `the body is a string`},
		"two objects":               {`{} {}`, `the body is not JSON`},
		"deep":                      {strings.Repeat("[", 1000), `nested deeper than 64 levels`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(test.body), registered)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want %s", err, test.message)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("one mistake is told more than once:\n%v", err)
			}
		})
	}
}

func TestReadTemplateAccepts(t *testing.T) {
	for name, body := range map[string]string{
		"no roles yet": `{"name":"s","roles":[]}`,
		"diamond":      `{"name":"s","deployment":"straight","roles":[{"name":"a","type":"vm","template_id":0},{"name":"b","type":"vm","template_id":0,"parents":["a"]},{"name":"c","type":"vm","template_id":0,"parents":["a"]},{"name":"d","type":"vm","template_id":0,"parents":["b","c"]}]}`,
		"scheduled":    `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"cardinality":1,"min_vms":1,"max_vms":3,"scheduled_policies":[{"type":"CARDINALITY","adjust":2,"recurrence":"0 9 * * mon,tue"},{"type":"CHANGE","adjust":-1,"start_time":"2030-01-01 00:00:00"},{"type":"CHANGE","adjust":"1","start_time":1893456000}]}]}`,
		"router":       `{"name":"s","roles":[{"name":"r","type":"vr","cardinality":2,"template_id":0,"template_contents":{"NIC":{"NETWORK_ID":"0","FLOATING_IP":"YES"}}}]}`,
		"open network": `{"name":"s","roles":[],"networks":{"Public":"M|network|Public network| |id:","B":"O|network|| |"}}`,
		"nulls":        `{"name":"s","roles":[],"description":null,"networks":null,"user_inputs":null}`,
		"null for what is Flowjet's own": `{"name":"s","deadlines":{"pending":null,"then":null},"roles":[{"name":"a","type":"vm","template_id":0,"heal":{"action":"recover","after":null,"max":null},` +
			`"deadlines":{"scaling":null}},{"name":"b","type":"vm","template_id":0,"heal":null,"deadlines":null,"victims":null,"expand":null}],"flowjet_webhooks":null}`,
		"empty policies":  `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"elasticity_policies":[],"scheduled_policies":[]}]}`,
		"unicode name":    `{"name":"sérvicé ☃","roles":[]}`,
		"deep and closed": `{"name":"s","roles":[],"x":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`,
		"brackets text":   `{"name":"s","roles":[],"x":"` + strings.Repeat("[\\\"", 100) + `"}`,
	} {
		if _, err := Read([]byte(body), registered); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCirclesNameTheirRoles(t *testing.T) {
	body := `{"name":"s","roles":[
		{"name":"a","type":"vm","template_id":0},
		{"name":"b","type":"vm","template_id":0,"parents":["a","d"]},
		{"name":"c","type":"vm","template_id":0,"parents":["b"]},
		{"name":"d","type":"vm","template_id":0,"parents":["c"]}]}`
	_, err := Read([]byte(body), registered)
	if err == nil || !strings.Contains(err.Error(), "b -> d -> c -> b wait for each other") {
		t.Errorf("got %v", err)
	}
}

func TestViolationsAreAllToldAtOnce(t *testing.T) {
	_, err := Read([]byte(`{"deployment":"x","roles":[{"name":"a","template_id":"y","cardinality":-1}]}`), registered)
	var found Violations
	if !errors.As(err, &found) {
		t.Fatalf("got %v", err)
	}
	paths := map[string]bool{}
	for _, violation := range found {
		paths[violation.Path] = true
	}
	for _, path := range []string{"name", "deployment", "roles[0].type", "roles[0].template_id", "roles[0].cardinality"} {
		if !paths[path] {
			t.Errorf("%s is not among %v", path, paths)
		}
	}
	if len(paths) != 5 || len(found) != 5 {
		t.Errorf("found %v", found)
	}
	first, rest, _ := strings.Cut(err.Error(), "\n")
	if !strings.HasSuffix(first, "(and 4 more)") || strings.Count(rest, "\n") != 3 {
		t.Errorf("got %q", err.Error())
	}
}

func TestValidateTakesAService(t *testing.T) {
	body, err := spec.ParseBody([]byte(`{"name":"s","deployment":"straight","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"cardinality":1,"state":2,"nodes":[]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if found := Validate(body); found != nil {
		t.Error(found)
	}
}

// TestBrokenPoliciesAreToldWithTheirCause has policies that are of another type in a service that is running.
func TestBrokenPoliciesAreToldWithTheirCause(t *testing.T) {
	body, err := spec.ParseBody([]byte(`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"cardinality":1,"elasticity_policies":"x","scheduled_policies":7}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`roles[0].elasticity_policies (role "a"): is not an array of policies: json: cannot unmarshal string into Go value`,
		`roles[0].scheduled_policies (role "a"): is not an array of policies: json: cannot unmarshal number into Go value`,
	} {
		if found := Validate(body).Error(); !strings.Contains(found, want) {
			t.Errorf("got %q, want %q", found, want)
		}
	}
}

func TestParseStartTime(t *testing.T) {
	for text, want := range map[string]int64{
		`"2030-01-01 00:00:00"`: 1893456000, `1893456000`: 1893456000, `"1893456000"`: 1893456000,
		`"2030-01-01T01:00:00+01:00"`: 1893456000, `"2030-01-01 01:00:00 +0100"`: 1893456000,
		`" 2030-01-01 00:00:00 "`: 1893456000, `"2030-01-01 01:00:00 +01:00"`: 1893456000, `"2030-01-01T01:00+01:00"`: 1893456000,
		`"2030-01-01 00:00:00Z"`: 1893456000, `"2030-01-01 00:00 UTC"`: 1893456000, `"2030/01/01 00:00"`: 1893456000, `"2030/01/01"`: 1893456000,
	} {
		got, err := policy.ParseStartTime(json.RawMessage(text), time.UTC)
		if err != nil || got.Unix() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func FuzzReadTemplate(f *testing.F) {
	f.Add([]byte(`{"name":"s","roles":[{"name":"a","vm_template":"0","vm_template_contents":"A=[B=C]"}]}`))
	f.Add([]byte(`{"roles":[{"elasticity_policies":[{"expression":"!(a>1)&b<2"}]}],"custom_attrs":{"a":1}}`))
	f.Add([]byte(`{"networks_values":[{"a":{"id":0}}],"roles":[{"type":"vr","cardinality":3,"template_contents":{"NIC":[]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var body spec.Body
		var err error
		effort.Bounded(t, len(text), func() { body, err = Read(text, registered) })
		if err != nil {
			return
		}
		written, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Read(written, registered); err != nil {
			t.Fatalf("%s was accepted and written as %s, which is refused: %v", text, written, err)
		} else if rewritten, _ := json.Marshal(again); string(rewritten) != string(written) {
			t.Fatalf("%s becomes %s", written, rewritten)
		}
	})
}
