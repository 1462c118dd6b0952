package opennebula

import (
	"reflect"
	"strings"
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

const plainNetworkPool = "<VNET_POOL><VNET><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>a&amp;b</UNAME><GNAME>users</GNAME><NAME><![CDATA[x<y]]></NAME>" +
	"<PERMISSIONS><OWNER_U>1</OWNER_U></PERMISSIONS><STATE><![CDATA[1]]></STATE><PARENT_NETWORK_ID/><TEMPLATE_ID> 3 </TEMPLATE_ID>" +
	"<AR_POOL><AR><IP><![CDATA[10.0.0.1]]></IP></AR></AR_POOL></VNET>\n<VNET><ID>8</ID><PARENT_NETWORK_ID>x</PARENT_NETWORK_ID></VNET></VNET_POOL>"

func slowNetworks(text []byte) ([]Network, error) {
	return poolOf(networkXML.network, "one.vnpool.info", text)
}

func TestPlainNetworksAreReadAsByTheDecoder(t *testing.T) {
	for _, text := range []string{plainNetworkPool, "<VNET_POOL/>", "<VNET_POOL></VNET_POOL>"} {
		plain, ok := plainNetworks([]byte(text))
		slow, err := slowNetworks([]byte(text))
		if !ok || err != nil || !reflect.DeepEqual(plain, slow) {
			t.Errorf("%s: %v %+v, expected %+v (%v)", text, ok, plain, slow, err)
		}
	}
}

func TestNetworksOfAnyFormAreRead(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	for _, pool := range []string{plainNetworkPool, strings.Replace(plainNetworkPool, "<VNET>", "<!-- --><VNET A='1'>", 1)} {
		oned.accepts(pool)
		networks, err := session.Networks(t.Context(), FilterAll)
		want := []Network{
			{ID: 7, Owner: flow.Identity{UID: 2, GID: 1, UName: "a&b", GName: "users"}, Name: "x<y", State: flow.NetworkReady, Parent: -1, Template: 3},
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

func FuzzPlainNetworks(f *testing.F) {
	f.Add(plainNetworkPool)
	f.Fuzz(func(t *testing.T, text string) {
		cleaned := cleanXML([]byte(text))
		plain, ok := plainNetworks(cleaned)
		if !ok {
			return
		}
		// That oned's permissions are numbers is not looked at where nobody reads them.
		if slow, err := slowNetworks(cleaned); err == nil && !reflect.DeepEqual(plain, slow) {
			t.Fatalf("%q: %+v, expected %+v", text, plain, slow)
		}
	})
}

func TestRecordedRouters(t *testing.T) {
	for _, found := range recordedObjects[routerXML](t, "one.vrouter.info") {
		got := found.router()
		if got.Name != "vr(service_41)" || len(got.VMs) != 2 || len(got.Addresses) != 1 || got.Addresses[0] != (flow.FloatingIP{NetworkID: 0, Address: "10.0.0.40"}) {
			t.Errorf("got %+v", got)
		}
	}
}
