package opennebula

import (
	"reflect"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// recordedObjects reads the objects that a recorded method answered with.
func recordedObjects[T any](t *testing.T, method string, read func(r *onexml.Reader) T) []T {
	t.Helper()
	var objects []T
	for _, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		if call.Method != method {
			continue
		}
		value, err := decodeAnswer(method, []byte(call.Response))
		if err != nil {
			continue
		}
		found, err := readObject(method, value.([]byte), read)
		if err != nil {
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
	for _, got := range recordedObjects(t, "one.vn.info", readNetwork) {
		known := want[got.Name]
		if got.ID != known.ID || got.Parent != known.Parent || got.Template != known.Template || got.State != one.NetworkReady {
			t.Errorf("got %+v, want %+v", got, known)
		}
	}
}

func TestNetworksOfAnyFormAreRead(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	for _, pool := range []string{networkPool, strings.Replace(networkPool, "<VNET>", "<!-- --><VNET A='1'>", 1)} {
		oned.accepts(pool)
		networks, err := session.Networks(t.Context(), FilterAll)
		want := []Network{
			{ID: 7, Owner: one.Identity{UID: 2, GID: 1, UName: "a&b", GName: "users"}, Name: "x<y", State: one.NetworkReady, Parent: -1, Template: 3},
			{ID: 8, Parent: -1, Template: -1},
		}
		if err != nil || !reflect.DeepEqual(networks, want) {
			t.Errorf("%s: %+v (%v)", pool, networks, err)
		}
	}
	oned.accepts("<VNET_POOL><VNET>")
	if networks, err := session.Networks(t.Context(), FilterAll); !Ambiguous(err) {
		t.Errorf("half a pool is %+v (%v)", networks, err)
	}
}

func TestRecordedRouters(t *testing.T) {
	for _, got := range recordedObjects(t, "one.vrouter.info", readRouter) {
		if got.Name != "vr(service_41)" || len(got.VMs) != 2 || len(got.Addresses) != 1 || got.Addresses[0] != (one.FloatingIP{NetworkID: 0, Address: "10.0.0.40"}) {
			t.Errorf("got %+v", got)
		}
	}
}
