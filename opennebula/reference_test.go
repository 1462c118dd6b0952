package opennebula

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// The same objects read by encoding/xml: what it reads, onexml has to read alike.

type ownerXML struct {
	ID    int    `xml:"ID"`
	UID   int    `xml:"UID"`
	GID   int    `xml:"GID"`
	UName string `xml:"UNAME"`
	GName string `xml:"GNAME"`
	Name  string `xml:"NAME"`
}

func (o ownerXML) identity() one.Identity {
	return one.Identity{UID: o.UID, GID: o.GID, UName: o.UName, GName: o.GName}
}

type documentXML struct {
	ownerXML
	Permissions struct {
		OwnerU int `xml:"OWNER_U"`
		OwnerM int `xml:"OWNER_M"`
		OwnerA int `xml:"OWNER_A"`
		GroupU int `xml:"GROUP_U"`
		GroupM int `xml:"GROUP_M"`
		GroupA int `xml:"GROUP_A"`
		OtherU int `xml:"OTHER_U"`
		OtherM int `xml:"OTHER_M"`
		OtherA int `xml:"OTHER_A"`
	} `xml:"PERMISSIONS"`
	Type int       `xml:"TYPE"`
	Lock *struct{} `xml:"LOCK"`
	Body []byte    `xml:"TEMPLATE>BODY"`
}

func (d documentXML) document() Document {
	return Document{
		ID: d.ID, Owner: d.identity(), Name: d.Name, Type: d.Type, Locked: d.Lock != nil, Body: d.Body,
		Permissions: Permissions(d.Permissions),
	}
}

type vmXML struct {
	ownerXML
	State    int      `xml:"STATE"`
	LCMState int      `xml:"LCM_STATE"`
	Hosts    []string `xml:"HISTORY_RECORDS>HISTORY>HOSTNAME"`
	User     struct {
		Ready   string `xml:"READY"`
		Service string `xml:"SERVICE_ID"`
		Role    string `xml:"ROLE_NAME"`
		Key     string `xml:"FLOWJET_KEY"`
		Protect string `xml:"FLOWJET_PROTECT"`
	} `xml:"USER_TEMPLATE"`
}

func (v vmXML) vm() one.VM {
	service, err := strconv.Atoi(strings.TrimSpace(v.User.Service))
	if err != nil || service < 0 {
		service = -1
	}
	vm := one.VM{
		ID: v.ID, Name: v.Name, Owner: v.identity(), State: one.VMState(v.State), LCMState: one.LCMState(v.LCMState),
		Ready: isYes(v.User.Ready), Protected: isYes(v.User.Protect), Service: service, Role: bounded(v.User.Role), Key: bounded(v.User.Key),
	}
	if len(v.Hosts) > 0 {
		vm.Host = bounded(v.Hosts[len(v.Hosts)-1])
	}
	return vm
}

type networkXML struct {
	ownerXML
	State    int    `xml:"STATE"`
	Parent   string `xml:"PARENT_NETWORK_ID"`
	Template string `xml:"TEMPLATE_ID"`
}

func (n networkXML) network() Network {
	return Network{
		ID: n.ID, Owner: n.identity(), Name: n.Name, State: one.NetworkState(n.State),
		Parent: idOrNone(n.Parent), Template: idOrNone(n.Template),
	}
}

// referencePool reads a pool's elements of a name by encoding/xml.
func referencePool[X, T any](text []byte, name string, of func(X) T) (objects []T, err error) {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	objects = []T{}
	for depth := 0; ; {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		switch found := token.(type) {
		case xml.StartElement:
			if depth == 0 || found.Name.Local != name {
				if depth == 0 {
					depth++
					continue
				}
				if err := decoder.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			var one X
			if err := decoder.DecodeElement(&one, &found); err != nil {
				return nil, err
			}
			objects = append(objects, of(one))
		case xml.EndElement:
			return objects, nil
		}
	}
}

const documentPool = "<DOCUMENT_POOL><DOCUMENT><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>a&amp;b</UNAME><GNAME>users</GNAME><NAME><![CDATA[x<y]]></NAME>" +
	"<TYPE>100</TYPE><PERMISSIONS><OWNER_U>1</OWNER_U><OTHER_A>1</OTHER_A></PERMISSIONS><LOCK><LOCKED>1</LOCKED></LOCK><TEMPLATE><OTHER/>" +
	"<BODY><![CDATA[{\"a\":\"<\"}]]> &#65;</BODY></TEMPLATE></DOCUMENT>\n<DOCUMENT><ID>8</ID></DOCUMENT></DOCUMENT_POOL>"

const networkPool = "<VNET_POOL><VNET><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>a&amp;b</UNAME><GNAME>users</GNAME><NAME><![CDATA[x<y]]></NAME>" +
	"<PERMISSIONS><OWNER_U>1</OWNER_U></PERMISSIONS><STATE><![CDATA[1]]></STATE><PARENT_NETWORK_ID/><TEMPLATE_ID> 3 </TEMPLATE_ID>" +
	"<AR_POOL><AR><IP><![CDATA[10.0.0.1]]></IP></AR></AR_POOL></VNET>\n<VNET><ID>8</ID><PARENT_NETWORK_ID>x</PARENT_NETWORK_ID></VNET></VNET_POOL>"

const vmPool = "<VM_POOL><VM><ID>7</ID><NAME>a</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE><X><![CDATA[</VM>]]></X></TEMPLATE><HISTORY_RECORDS><HISTORY><HOSTNAME>h1</HOSTNAME>" +
	"</HISTORY><HISTORY><HOSTNAME>h2</HOSTNAME></HISTORY></HISTORY_RECORDS><USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID><FLOWJET_PROTECT>YES</FLOWJET_PROTECT></USER_TEMPLATE></VM>" +
	"<VM><ID>9</ID><HISTORY_RECORDS/><USER_TEMPLATE><HISTORY_RECORDS><HOSTNAME>x</HOSTNAME></HISTORY_RECORDS></USER_TEMPLATE></VM></VM_POOL>"

// poolReadings compares a pool read both ways where encoding/xml can.
func poolReadings(t *testing.T, text []byte) {
	t.Helper()
	same := func(got, want any, failed, err error) {
		t.Helper()
		if err == nil && (failed != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("%.300s: %.300v (%v), want %.300v", text, got, failed, want)
		}
	}
	r := onexml.New(text)
	switch string(r.Root()) {
	case "DOCUMENT_POOL":
		got, failed := readPool("", text, "DOCUMENT", readDocument)
		want, err := referencePool(text, "DOCUMENT", documentXML.document)
		for _, documents := range [][]Document{got, want} {
			for i := range documents {
				documents[i].Body = append([]byte{}, documents[i].Body...) // an empty one and none are alike
			}
		}
		same(got, want, failed, err)
	case "VNET_POOL":
		got, failed := readPool("", text, "VNET", readNetwork)
		want, err := referencePool(text, "VNET", networkXML.network)
		same(got, want, failed, err)
	case "VM_POOL":
		got, failed := readPool("", text, "VM", readVM)
		want, err := referencePool(text, "VM", vmXML.vm)
		same(got, want, failed, err)
	}
}

func TestPoolsAreReadAsByTheDecoder(t *testing.T) {
	for _, text := range []string{documentPool, networkPool, vmPool, "<VM_POOL/>", "<VNET_POOL></VNET_POOL>"} {
		poolReadings(t, []byte(text))
	}
}

// TestAnswersAreReadAsByTheDecoder has every recorded answer read by kolo/xmlrpc
// and the pools in them by encoding/xml.
func TestAnswersAreReadAsByTheDecoder(t *testing.T) {
	texts, ids := 0, 0
	for i, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		var elements []any
		if err := xmlrpc.Response(call.Response).Unmarshal(&elements); err != nil {
			t.Fatal(err)
		}
		read, err := decodeAnswer(call.Method, []byte(call.Response))
		switch value := read.(type) {
		case []byte:
			texts++
			if wanted, _ := elements[1].(string); string(value) != wanted || err != nil {
				t.Errorf("line %d, %s: %q (%v), want %q", i+1, call.Method, value, err, wanted)
			}
			poolReadings(t, value)
		case int64:
			ids++
			if elements[1] != any(value) || err != nil {
				t.Errorf("line %d, %s: %d (%v), want %v", i+1, call.Method, value, err, elements)
			}
		default:
			if _, refused := errors.AsType[*Error](err); !refused || elements[0] != false {
				t.Errorf("line %d, %s: %v, want %v", i+1, call.Method, err, elements)
			}
		}
	}
	if texts < 20 || ids < 20 {
		t.Errorf("%d texts and %d ids were read", texts, ids)
	}
}

// sameEvent compares a VM's event with what encoding/xml reads, if it does.
func sameEvent(t *testing.T, text []byte) {
	t.Helper()
	var message struct {
		Host string `xml:"REMOTE_HOST"`
		VM   *vmXML `xml:"VM"`
	}
	if xml.Unmarshal(text, &message) != nil || message.VM == nil {
		return
	}
	want := message.VM.vm()
	want.Host = ""
	if host, vm, err := decodeVM(text); err != nil || host != message.Host || vm != want {
		t.Errorf("%q %+v (%v), want %q %+v\n%s", host, vm, err, message.Host, want, text)
	}
}

func TestRecordedVMsAreReadAsByTheDecoder(t *testing.T) {
	for _, line := range fixtures.Lines[recordedEvent](t, "zmq_events.jsonl") {
		if strings.HasPrefix(line.Key, "EVENT STATE VM/") {
			text, err := base64.StdEncoding.DecodeString(line.Body)
			if err != nil {
				t.Fatal(err)
			}
			sameEvent(t, text)
		}
	}
}

const eventText = "<HOOK_MESSAGE><HOOK_TYPE>STATE</HOOK_TYPE><REMOTE_HOST>h1</REMOTE_HOST><VM><ID>7</ID>" +
	"<UNAME>ada</UNAME><NAME><![CDATA[a <b>]]></NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>" +
	"<TEMPLATE><X><![CDATA[</VM>]]></X></TEMPLATE><USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID></USER_TEMPLATE>" +
	"</VM></HOOK_MESSAGE>\n"

func TestUnusualEvents(t *testing.T) {
	sameEvent(t, []byte(eventText))
	for _, change := range [][2]string{
		{"ada", "a&lt;da"}, {"ada", "a\rda"}, {"<ID>7", "<ID> 7"}, {"<VM>", `<VM a="b">`}, {"<HOOK_MESSAGE>", `<?xml version="1.0"?><HOOK_MESSAGE>`},
		{"<VM>", "<!-- x --><VM>"}, {"<![CDATA[4]]>", "<![CDATA[4]]><![CDATA[2]]>"}, {"<ID>7", strings.Repeat("<A>", 99) + strings.Repeat("</A>", 99) + "<ID>7"},
	} {
		text := strings.ReplaceAll(eventText, change[0], change[1])
		sameEvent(t, []byte(text))
		if _, vm, err := decodeVM([]byte(text)); err != nil || vm.ID != 7 {
			t.Errorf("%s: %+v (%v)", text, vm, err)
		}
	}
	for _, change := range [][2]string{
		{"</REMOTE_HOST>", ""}, {"</USER_TEMPLATE></VM>", "</VM></USER_TEMPLATE>"}, {"</VM></HOOK_MESSAGE>\n", ""}, {"VM>", "VX>"}, {"<ID>7", "<ID>x"},
	} {
		text := strings.ReplaceAll(eventText, change[0], change[1])
		if host, vm, err := decodeVM([]byte(text)); err == nil {
			t.Errorf("%s was read: %q %+v", text, host, vm)
		}
	}
}

func FuzzPools(f *testing.F) {
	for _, text := range []string{documentPool, networkPool, vmPool, strings.Replace(vmPool, "h2", "h&lt;2", 1), strings.Replace(vmPool, "<ID>9", "<ID> 9", 1)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// Comments and prefixes are none of oned's; a user's names of elements are letters.
		if !bytes.ContainsAny(text, ":?") && !bytes.Contains(bytes.ReplaceAll(text, []byte("<![CDATA["), nil), []byte("<!")) {
			poolReadings(t, text)
		}
	})
}

// FuzzAnswer holds the value of an accepted answer against what kolo/xmlrpc reads.
func FuzzAnswer(f *testing.F) {
	for _, value := range []string{"", "a &lt;b&gt; &amp;amp; &#10;", "x\ry", "<i4>1</i4>", "7", "-1"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, kind := range []string{"string", "i4"} {
			text := envelope("<boolean>1</boolean>", "<"+kind+">"+value+"</"+kind+">", "<i4>0</i4>")
			var elements []any
			if xml.Unmarshal([]byte(text), new(struct{})) != nil || xmlrpc.Response(text).Unmarshal(&elements) != nil || strings.Contains(value, "<") {
				continue
			}
			got, err := decodeAnswer("one.vm.info", []byte(text))
			if plain, is := got.([]byte); is {
				got = string(plain)
			}
			if want := elements[1]; err != nil || got != want && (want != nil || got != "" && got != int64(0)) {
				t.Fatalf("%q: %v (%v), want %v", value, got, err, want)
			}
		}
	})
}
