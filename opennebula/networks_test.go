package opennebula

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/fixtures"
)

// recordedObjects reads the objects that a recorded method answered with.
func recordedObjects[T any](t *testing.T, method string) []T {
	t.Helper()
	var objects []T
	for _, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		if call.Method != method {
			continue
		}
		var received answer
		received.raw.WriteString(call.Response)
		if received.decode(method) != nil {
			continue
		}
		text, err := received.textValue(method)
		if err != nil {
			t.Fatal(err)
		}
		var found T
		if err := object(method, text, &found); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, found)
	}
	if len(objects) == 0 {
		t.Fatalf("%s is not in the recording", method)
	}
	return objects
}

func TestRecordedNetworks(t *testing.T) {
	want := map[string]Network{
		"private": {ID: 0, Parent: -1, Template: -1},
		"Priv-39": {ID: 1, Parent: -1, Template: 0},
		"Res-39":  {ID: 2, Parent: 0, Template: -1},
	}
	for _, found := range recordedObjects[networkXML](t, "one.vn.info") {
		got, known := found.network(), want[found.Name]
		if got.ID != known.ID || got.Parent != known.Parent || got.Template != known.Template || got.State != flow.NetworkReady {
			t.Errorf("got %+v, want %+v", got, known)
		}
	}
}

func TestRecordedRouters(t *testing.T) {
	for _, found := range recordedObjects[routerXML](t, "one.vrouter.info") {
		got := found.router()
		if got.Name != "vr(service_41)" || len(got.VMs) != 2 || len(got.Addresses) != 1 || got.Addresses[0] != (flow.FloatingIP{NetworkID: 0, Address: "10.0.0.40"}) {
			t.Errorf("got %+v", got)
		}
	}
}
