package view

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

func TestInputs(t *testing.T) {
	got := inputs(json.RawMessage(`{"A":"M|range|How many|1..5|3","B":"O|list-multiple|Which|x,y|x|y","C":"O|password|Secret| |hush","D":"odd","E":"O|text64|Lines| |a|b"}`),
		json.RawMessage(`{"A":4,"C":"s3cret","F":"undeclared"}`))
	want := []schema.Input{
		{Name: "A", Description: "How many", Type: "range", Mandatory: true, Options: []string{"1", "5"}, Default: "3", Value: "4", Set: true},
		{Name: "B", Description: "Which", Type: "list-multiple", Options: []string{"x", "y"}, Default: "x|y"},
		{Name: "C", Description: "Secret", Type: "password", Set: true},
		{Name: "D", Mandatory: true}, // without a value it cannot be instantiated
		{Name: "E", Description: "Lines", Type: "text64", Default: "a|b"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, broken := range []string{``, `[]`, `null`} {
		if got := inputs(json.RawMessage(broken), json.RawMessage(broken)); len(got) > 0 {
			t.Errorf("%s: %+v", broken, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	got := networks(json.RawMessage(`{"A":"M|network|Public| |id:0","B":"O|network|Own| |reserve_from:7:SIZE=4","C":"O|network|Any| |",
		"D":"M|network|undefined||undefined:undefined","E":"M|network|Later||id:undefined"}`),
		json.RawMessage(`[{"B":{"reserve_from":"8","id":12}}]`))
	want := []schema.Network{
		{Name: "A", Description: "Public", Mandatory: true, From: "id", Of: "0"},
		{Name: "B", Description: "Own", From: "reserve_from", Of: "8", ID: "12"},
		{Name: "C", Description: "Any"},
		{Name: "D", Description: "undefined", Mandatory: true},
		{Name: "E", Description: "Later", Mandatory: true, From: "id"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPolicies(t *testing.T) {
	got := policies(json.RawMessage(`[{"type":"CHANGE","adjust":"2","expression":"A>1","period_number":"3","true_evals":1,"last_eval":1800000000,"expression_evaluated":"0>1"}]`),
		json.RawMessage(`[{"type":"CARDINALITY","adjust":5,"start_time":"1800000000"},{"type":"CHANGE","adjust":1,"start_time":"Jan 1"}]`))
	at := time.Unix(1_800_000_000, 0).UTC()
	want := []schema.Policy{
		{When: "A>1", Type: "CHANGE", Adjust: "2", Evaluated: "0>1", Last: at, True: 1, Needed: 3},
		{When: at.Format(time.RFC3339), Type: "CARDINALITY", Adjust: "5"},
		{When: "Jan 1", Type: "CHANGE", Adjust: "1"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestVMs(t *testing.T) {
	for _, test := range []struct {
		state       one.VMState
		lcm         one.LCMState
		shown, kind string
	}{
		{one.VMActive, one.LCMRunning, "RUNNING", "running"},
		{one.VMActive, one.LCMUnknown, "UNKNOWN", "warning"},
		{one.VMPoweroff, 0, "POWEROFF", "warning"},
		{one.VMFailed, 0, "FAILED", "failed"},
		{one.VMPending, 0, "PENDING", "working"},
		{one.VMHold, 0, "HOLD", "waiting"},
		{one.VMDone, 0, "DONE", "done"},
	} {
		got := ofVM(opennebula.VMDetails{VM: one.VM{State: test.state, LCMState: test.lcm}})
		if got.State != test.shown || got.Kind != test.kind {
			t.Errorf("%v/%v: got %s, %s", test.state, test.lcm, got.State, got.Kind)
		}
	}
}

// A body that cannot be read is a row, too, and a role without its VMs is counted.
func TestRows(t *testing.T) {
	if row := OfService(1, "x", one.Identity{}, []byte("{")); row.State != "WARNING" || row.Name != "x" {
		t.Errorf("got %+v", row)
	}
	row := OfService(2, "y", one.Identity{}, []byte(`{"name":"y","state":1,"roles":[
		{"name":"a","cardinality":3,"template_id":0,"state":2,"nodes":[{"deploy_id":1},{"deploy_id":2}]},
		{"name":"b","cardinality":2,"template_id":0,"state":1,"nodes":[{"deploy_id":3},{"deploy_id":4}]}]}`))
	row.Count(func(vm int) bool { return vm == 3 })
	if *row.Running != 3 || row.Wanted != 5 || !slices.Equal(row.Unsettled, []int{3, 4}) {
		t.Errorf("got %+v, %d run", row, *row.Running)
	}
	row = OfService(3, "z", one.Identity{}, []byte(`{"name":"z","state":"2","roles":[null,
		{"name":"a","cardinality":"2","template_id":"0","state":"2","nodes":[{"deploy_id":"5","vm_info":null},{"deploy_id":6}]}]}`))
	if row.State != "RUNNING" || row.Wanted != 2 || row.RoleCount != 1 || row.settled != 2 {
		t.Errorf("a document of somebody else's: got %+v", row)
	}
}
