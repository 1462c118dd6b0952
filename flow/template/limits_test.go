package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// mostBody is the largest body of a request.
const mostBody = 1 << 20

// filled is as many elements as fit into a body of the greatest length, between what
// stands in front of them and behind.
func filled(front, element, behind string) string {
	var text strings.Builder
	text.WriteString(front)
	for i := 0; text.Len()+len(behind)+len(element)+10 < mostBody; i++ {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strings.ReplaceAll(element, "#", fmt.Sprint(i)))
	}
	return text.String() + behind
}

// nested is an object in an object, so many levels deep, around a long text.
func nested(levels int) string {
	open, shut := strings.Repeat(`{"a":`, levels), strings.Repeat(`}`, levels)
	return open + `"` + strings.Repeat("x", mostBody-len(open)-len(shut)-100) + `"` + shut
}

// ring is as many roles as there may be, each with all others as parents.
func ring(roles int) string {
	var names, all []string
	for i := range roles {
		names = append(names, fmt.Sprintf(`"%03d"`, i))
	}
	parents := strings.Join(names, ",")
	for _, name := range names {
		all = append(all, fmt.Sprintf(`{"name":%s,"type":"vm","template_id":0,"parents":[%s]}`, name, parents))
	}
	return `{"name":"s","roles":[` + strings.Join(all, ",") + `]}`
}

const role0 = `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"min_vms":0,"max_vms":9,`

// expensive are bodies of 1 MiB made to take long.
func expensive() map[string]string {
	return map[string]string{
		"empty roles":         filled(`{"name":"s","roles":[`, `{}`, `]}`),
		"roles of one name":   filled(`{"name":"s","roles":[`, `{"name":"a","type":"vm","template_id":0}`, `]}`),
		"wrong values":        filled(`{"name":"s","roles":[`, `{"name":"r#","type":1,"template_id":"x","cardinality":"y","parents":[1]}`, `]}`),
		"roles in a ring":     ring(400),
		"parents":             filled(role0+`"parents":[`, `"p#"`, `]}]}`),
		"scheduled policies":  filled(role0+`"scheduled_policies":[`, `{"type":"CHANGE","adjust":1,"recurrence":"0 0 29 2 *"}`, `]}]}`),
		"elasticity policies": filled(role0+`"elasticity_policies":[`, `{"type":"CHANGE","adjust":1,"expression":"CPU>1"}`, `]}]}`),
		"an expression":       role0 + `"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"` + strings.Repeat("(", mostBody-300) + `"}]}]}`,
		"networks":            filled(`{"name":"s","roles":[],"networks":{`, `"n#":"M|network|n| |id:0"`, `}}`),
		"network values":      filled(`{"name":"s","roles":[],"networks_values":[`, `{"n#":{"id":"0"}}`, `]}`),
		"inputs":              filled(`{"name":"s","roles":[],"user_inputs":{`, `"n#":"M|text|t"`, `}}`),
		"contents":            filled(role0+`"template_contents":{`, `"N#":{"A":"1"}`, `}}]}`),
		"NICs":                filled(role0+`"template_contents":{"NIC":[`, `{"NETWORK_ID":"#"}`, `]}}]}`),
		"an extra array":      filled(`{"name":"s","roles":[],"x":[`, `{"a":#}`, `]}`),
		"a deep object":       `{"name":"s","roles":[],"x":` + nested(60) + `}`,
		"old contents":        `{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"` + strings.Repeat(`A=1\n`, mostBody/5) + `"}]}`,
		"old vectors":         `{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"` + strings.Repeat(`NIC=[A=1]\n`, mostBody/12) + `"}]}`,
		"quotes":              `{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"` + strings.Repeat(`\"`, mostBody/2-200) + `"}]}`,
	}
}

// BenchmarkMostExpensiveBody takes bodies of 1 MiB, and merges two of them. The most
// expensive is to cost less than 0.3 s of a core. times_decoding is what that is beside
// encoding/json's reading of the same bytes, which a busy machine does not change.
func BenchmarkMostExpensiveBody(b *testing.B) {
	now := time.Unix(1_900_000_000, 0)
	for name, body := range expensive() {
		text := []byte(body)
		beside := func(b *testing.B, bodies int, work func()) {
			b.Helper()
			var worked, decoded time.Duration
			for b.Loop() {
				began := time.Now()
				work()
				worked += time.Since(began)
				b.StopTimer()
				began = time.Now()
				for range bodies {
					var value any
					_ = json.Unmarshal(text, &value)
				}
				decoded += time.Since(began)
				b.StartTimer()
			}
			b.ReportMetric(float64(worked)/float64(decoded), "times_decoding")
		}
		b.Run("read/"+name, func(b *testing.B) { beside(b, 1, func() { _, _ = Read(text, now) }) })
		b.Run("merge/"+name, func(b *testing.B) { beside(b, 2, func() { _, _ = Instantiate(text, text, now) }) })
	}
}

// No body of 1 MiB takes long, whether it is refused or not. The bound is several
// times what the slowest takes on a busy machine with the race detector; quadratic ones take minutes.
func TestNoBodyTakesLong(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	for name, body := range expensive() {
		if len(body) > mostBody+1000 {
			t.Fatalf("%s: the body has %d bytes", name, len(body))
		}
		for what, try := range map[string]func() error{
			"read":  func() error { _, err := Read([]byte(body), now); return err },
			"merge": func() error { _, err := Instantiate([]byte(body), json.RawMessage(body), now); return err },
		} {
			began := time.Now()
			err := try()
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%s: %s took %v", what, name, took)
			}
			if err != nil && len(err.Error()) > 64<<10 {
				t.Errorf("%s: %s is refused with %d bytes", what, name, len(err.Error()))
			}
		}
	}
}

func TestCountsAndLengthsAreBounded(t *testing.T) {
	long := strings.Repeat("x", spec.MaxName+1)
	many := func(count int, element string) string {
		var elements []string
		for i := range count {
			elements = append(elements, strings.ReplaceAll(element, "#", fmt.Sprint(i)))
		}
		return strings.Join(elements, ",")
	}
	for name, test := range map[string]struct{ body, message string }{
		"a network's name":     {`{"name":"s","roles":[],"networks":{"` + long + `":"M|network|n| |id:0"}}`, "networks: has a name of more than 128 characters"},
		"a role's name":        {`{"name":"s","roles":[{"name":"` + long + `","type":"vm","template_id":0}]}`, "roles[0].name"},
		"an input's name":      {`{"name":"s","roles":[],"user_inputs":{"` + long + `":"M|text|t"}}`, "user_inputs: has a name of more than 128"},
		"a role's input":       {role0 + `"user_inputs":{"` + long + `":"M|text|t"}}]}`, `roles[0].user_inputs`},
		"roles":                {`{"name":"s","roles":[` + many(spec.MaxRoles+1, `{"name":"r#"}`) + `]}`, "roles: has 1025 elements; at most 1024"},
		"networks":             {`{"name":"s","roles":[],"networks":{` + many(spec.MaxNetworks+1, `"n#":"M|network|n| |id:0"`) + `}}`, "networks: has 257 attributes; at most 256"},
		"scheduled policies":   {role0 + `"scheduled_policies":[` + many(8000, `{"type":"CHANGE","adjust":1,"recurrence":"0 9 * * *"}`) + `]}]}`, "has 8000 elements; at most 64"},
		"all scheduled":        {`{"name":"s","roles":[` + many(5, `{"name":"r#","type":"vm","template_id":0,"scheduled_policies":[`+many(60, `{"type":"CHANGE","adjust":1,"recurrence":"0 0 29 2 *"}`)+`]}`) + `]}`, "have 300 scheduled policies together; at most 256"},
		"elasticity policies":  {role0 + `"elasticity_policies":[` + many(spec.MaxPolicies+1, `{"type":"CHANGE","adjust":1,"expression":"CPU>1"}`) + `]}]}`, "has 65 elements; at most 64"},
		"VMs of a role":        {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"cardinality":10001}]}`, "at most 10000 VMs"},
		"VMs of all roles":     {`{"name":"s","roles":[` + many(2, `{"name":"r#","type":"vm","template_id":0,"cardinality":6000}`) + `]}`, "roles: have more than 10000 VMs"},
		"the service's name":   {`{"name":"` + long + `","roles":[]}`, "name: is too long"},
		"old contents":         {`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"` + strings.Repeat(`A=1\n`, one.MaxAttributes+1) + `"}]}`, "has more than 10000 attributes"},
		"old vectors":          {`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"NIC=[` + strings.Repeat(`A=1,`, one.MaxAttributes+1) + `]"}]}`, "has more than 10000 attributes"},
		"a wrong, long value":  {`{"name":"s","deployment":"` + strings.Repeat("y", 5000) + `","roles":[]}`, `deployment: is "yyy`},
		"a wrong, long parent": {role0 + `"parents":["` + strings.Repeat("y", 5000) + `"]}]}`, `has "yyy`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(test.body), time.Unix(1_900_000_000, 0))
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("got %v, want %s", err, test.message)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the refusal has %d bytes", len(err.Error()))
			}
			var wrong Violations
			if !errors.As(err, &wrong) {
				t.Errorf("got a %T, which is no refusal of what the client sent", err)
			}
			if _, err := Instantiate([]byte(`{"name":"s","roles":[]}`), json.RawMessage(test.body), time.Unix(1, 0)); err == nil {
				t.Error("it can be instantiated by merging")
			}
		})
	}
}

// TestAllThatExceedsALimitIsReportedAtOnce: of the service as a whole and of its roles.
func TestAllThatExceedsALimitIsReportedAtOnce(t *testing.T) {
	many := func(element string, count int) string {
		return strings.TrimSuffix(strings.Repeat(element+",", count), ",")
	}
	body := `{"name":"s","networks_values":[` + many("{}", spec.MaxNetworks+1) + `],"roles":[{"name":"` + strings.Repeat("a", spec.MaxName+1) +
		`","type":"vm","template_id":0,"elasticity_policies":[` + many("{}", spec.MaxPolicies+1) + `]}]}`
	_, err := Read([]byte(body), time.Now())
	for _, want := range []string{"networks_values", "roles[0].name", "roles[0].elasticity_policies"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in: %v", want, err)
		}
	}
}

// Merging appends what is new, in the order of before, and takes 1 and 1.0 for the same.
func TestMergedArrays(t *testing.T) {
	for _, test := range [][3]string{
		{`{"x":[1,{"a":1}]}`, `{"x":[1,{"a":1.0},{"b":2},{"b":2}]}`, `{"x":[1,{"a":1},1,{"b":2}]}`},
		{`{"x":{"y":[{"a":[1]}]}}`, `{"x":{"y":[{"a":[1]},{"a":[2]}]}}`, `{"x":{"y":[{"a":[1]},{"a":[2]}]}}`},
		{`{"x":[1]}`, `{"x":"t"}`, `{"x":"t"}`},
		{`{"x":12345678901234567890}`, `{"y":0.10}`, `{"x":12345678901234567890,"y":0.10}`},
		{`{"x":{"y":1}}`, `{"x":null}`, `{"x":null}`},
	} {
		if got := string(mergeValues(json.RawMessage(test[0]), json.RawMessage(test[1]))); got != test[2] {
			t.Errorf("%s and %s: got %s, want %s", test[0], test[1], got, test[2])
		}
	}
	roles := mergeNamed(json.RawMessage(`[{"name":"a","x":[{"i":0}]}]`),
		json.RawMessage(`[{"name":"a","x":[{"i":1}]},{"name":"b"},{"name":"a","x":[{"i":0},{"i":2}]}]`), roleKey, true)
	if want := `[{"name":"a","x":[{"i":0},{"i":1},{"i":2}]},{"name":"b"}]`; string(roles) != want {
		t.Errorf("got %s, want %s", roles, want)
	}
}

// docs/security.md has the table of limits, line by line, and the API's description each of
// them.
func TestLimitsAreDocumented(t *testing.T) {
	limits := map[string]int{
		"characters of the name of a service, role, network or user input": spec.MaxName,
		"roles of a service":                                                   spec.MaxRoles,
		"networks of a service":                                                spec.MaxNetworks,
		"user inputs of a service, and of each role":                           spec.MaxInputs,
		"elasticity policies of a role":                                        spec.MaxPolicies,
		"scheduled policies of a role":                                         spec.MaxPolicies,
		"scheduled policies of a service":                                      spec.MaxSchedules,
		"bytes of a service's document":                                        spec.MaxBody,
		"characters of a recurrence":                                           policy.MaxRecurrence,
		"attributes in a role's `vm_template_contents`":                        one.MaxAttributes,
		"bytes of a role's `template_contents` with all values put in":         spec.MaxContents,
		"values of parents' VMs (`${Parent.PATH}`) that a role refers to":      spec.MaxReferences,
		"characters of an expression":                                          expression.MaxLength,
		"attributes that the expressions of a role's elasticity policies name": spec.MaxMeasured,
		"VMs of a service":                                                     spec.MaxVMs,
		"addresses of a network that is made for a service (`SIZE`)":           spec.MaxAddresses,
		"receivers in `" + spec.WebhooksAttribute + "`":                        spec.MaxWebhooks,
		"characters of a receiver's URL":                                       spec.MaxWebhookURL,
		"levels of nested JSON":                                                MaxNesting,
	}
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../restapi/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Info struct {
			Limits map[string]int `json:"x-limits"`
		} `json:"info"`
	}
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(described.Info.Limits, limits) {
		t.Errorf("openapi.json has the limits %v, want %v", described.Info.Limits, limits)
	}
	for name, limit := range limits {
		most := fmt.Sprint(limit)
		for at := len(most) - 3; at > 0; at -= 3 {
			most = most[:at] + "," + most[at:]
		}
		if row := "| " + name + " | " + most + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/security.md lacks %q", row)
		}
	}
}

// TestAddressesOfANetworkAreBounded: a reservation of a hundred million ends oned.
func TestAddressesOfANetworkAreBounded(t *testing.T) {
	for _, extra := range []string{"SIZE=99999999", "size = \"65537\"", "NAME=x, SIZE= 0099999999", "AR=[TYPE=IP4,IP=10.0.0.1,SIZE=70000]", "SIZE=18446744073709551616"} {
		if spec.CheckAddresses(extra) == nil {
			t.Errorf("%q is taken", extra)
		}
		choice, _ := json.Marshal(extra)
		network, _ := json.Marshal("M|network| | |reserve_from:0:" + extra)
		for _, networks := range []string{
			`"networks":{"Res":"M|network| | |id:"},"networks_values":[{"Res":{"reserve_from":"0","extra":` + string(choice) + `}}]`,
			`"networks":{"Res":` + string(network) + `}`,
		} {
			body, err := spec.ParseBody([]byte(`{"name":"s",` + networks + `,"roles":[{"name":"a","type":"vm","template_id":0}]}`))
			if err != nil {
				t.Fatal(err)
			}
			if said := fmt.Sprint(Validate(body)); !strings.Contains(said, "65536 addresses") {
				t.Errorf("%s: %s", networks, said)
			}
		}
	}
	for _, extra := range []string{"", "SIZE=5", "SIZE=65536", "DESCRIPTION=\"RESIZE=99999999\""} {
		if err := spec.CheckAddresses(extra); err != nil {
			t.Errorf("%q: %v", extra, err)
		}
	}
}
