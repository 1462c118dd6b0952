package opennebula

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
)

const head = "<UID>5</UID><GID>101</GID><UNAME>ada</UNAME><GNAME>lab</GNAME><NAME>thing</NAME>" +
	"<PERMISSIONS><OWNER_U>1</OWNER_U><OWNER_M>1</OWNER_M><OWNER_A>0</OWNER_A><GROUP_U>1</GROUP_U><GROUP_M>0</GROUP_M>" +
	"<GROUP_A>0</GROUP_A><OTHER_U>0</OTHER_U><OTHER_M>0</OTHER_M><OTHER_A>1</OTHER_A></PERMISSIONS>"

var headOwner = one.Identity{UID: 5, GID: 101, UName: "ada", GName: "lab"}

func documentText(id int, body string) string {
	return fmt.Sprintf("<DOCUMENT><ID>%d</ID>%s<TYPE>100</TYPE><TEMPLATE><BODY><![CDATA[%s]]></BODY></TEMPLATE></DOCUMENT>", id, head, body)
}

func TestDocument(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	oned.accepts(documentText(9, `{"name":"a <b> & \"c\""}`))
	document, err := session.Document(t.Context(), 9)
	if err != nil {
		t.Fatal(err)
	}
	want := Document{
		ID: 9, Owner: headOwner, Name: "thing", Type: 100, Body: []byte(`{"name":"a <b> & \"c\""}`),
		Permissions: Permissions{OwnerU: 1, OwnerM: 1, GroupU: 1, OtherA: 1},
	}
	if !reflect.DeepEqual(document, want) {
		t.Fatalf("got %+v", document)
	}
	if octet := document.Permissions.Octet(); octet != "641" {
		t.Errorf("the permissions are %s", octet)
	}
	shown, err := json.Marshal(document.Permissions)
	if err != nil || !strings.HasPrefix(string(shown), `{"OWNER_U":"1","OWNER_M":"1","OWNER_A":"0"`) {
		t.Fatalf("permissions %s, %v", shown, err)
	}
}

func TestBodiesOfAnyKindComeBack(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	for _, body := range []string{`{"a":"]]>"}`, `{"a":"]]>]]>"}`, "not JSON ]]> at all", "", "plain & <b>"} {
		oned.acceptsID(4)
		if id, err := session.AllocateDocument(t.Context(), 101, `n<&"`, []byte(body)); err != nil || id != 4 {
			t.Fatal(id, err)
		}
		sent := oned.lastCall().arguments(t)[1].Text
		var template struct {
			Name string `xml:"NAME"`
			Body string `xml:"BODY"`
		}
		if err := xml.Unmarshal([]byte(sent), &template); err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		if template.Name != `n<&"` {
			t.Errorf("name %q", template.Name)
		}
		if template.Body != body && !sameJSON(template.Body, body) {
			t.Errorf("body %q became %q", body, template.Body)
		}
		if json.Valid([]byte(body)) && strings.Contains(template.Body, "]]>") {
			t.Errorf("body %q would break what oned sends back", template.Body)
		}
	}
}

func sameJSON(a, b string) bool {
	var left, right any
	return json.Unmarshal([]byte(a), &left) == nil && json.Unmarshal([]byte(b), &right) == nil && reflect.DeepEqual(left, right)
}

func TestOneBrokenDocumentDoesNotHideTheOthers(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	broken := map[string]string{
		"CDATA end":       `{"a":"]]>"}`,
		"CDATA and tag":   `{"a":"]]><b"}`,
		"control bytes":   "{\"a\":\"\x00\x1b\"}",
		"not UTF-8":       "{\"a\":\"\xff\xfe\"}",
		"not JSON at all": "&nonsense; <<<",
	}
	for name, body := range broken {
		oned.accepts("<DOCUMENT_POOL>" + documentText(1, `{"n":1}`) + documentText(2, body) + documentText(3, `{"n":3}`) + "</DOCUMENT_POOL>")
		documents, err := session.Documents(t.Context(), 100, FilterAll)
		if err != nil || len(documents) != 3 {
			t.Errorf("%s: %d documents, %v", name, len(documents), err)
			continue
		}
		for i, want := range []string{`{"n":1}`, "", `{"n":3}`} {
			if documents[i].ID != i+1 || documents[i].Name != "thing" || i != 1 && string(documents[i].Body) != want {
				t.Errorf("%s: document %d is %+v", name, i+1, documents[i])
			}
		}
	}
	oned.accepts("<DOCUMENT_POOL></DOCUMENT_POOL>")
	if documents, err := session.Documents(t.Context(), 100, FilterAll); err != nil || len(documents) != 0 {
		t.Errorf("empty pool: %v, %v", documents, err)
	}
}

// A body cannot pretend to be another document as long as the pool is XML.
func TestBodyThatLooksLikeADocument(t *testing.T) {
	trick := `{"a":"</BODY></TEMPLATE></DOCUMENT><DOCUMENT><ID>77</ID>"}`
	documents := readDocuments([]byte("<DOCUMENT_POOL>" + documentText(1, trick) + "</DOCUMENT_POOL>"))
	if len(documents) != 1 || string(documents[0].Body) != trick {
		t.Fatalf("got %+v", documents)
	}
}

func TestVM(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	const tail = "<STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE><CONTEXT><READY>NO</READY><SERVICE_ID>99</SERVICE_ID></CONTEXT></TEMPLATE>"
	texts := map[string]one.VM{
		"<USER_TEMPLATE><READY><![CDATA[ yes ]]></READY><SERVICE_ID><![CDATA[42]]></SERVICE_ID><ROLE_NAME><![CDATA[web <1>]]></ROLE_NAME><FLOWJET_KEY>k-1</FLOWJET_KEY></USER_TEMPLATE>": {Ready: true, Service: 42, Role: "web <1>", Key: "k-1"},
		"<USER_TEMPLATE></USER_TEMPLATE>": {Service: -1},
		"":                                {Service: -1},
		"<USER_TEMPLATE><READY>NO</READY><SERVICE_ID>x1</SERVICE_ID></USER_TEMPLATE>": {Service: -1},
		"<USER_TEMPLATE><SERVICE_ID>-5</SERVICE_ID></USER_TEMPLATE>":                  {Service: -1},
		"<USER_TEMPLATE><NOTE>a & b \x01\xff</NOTE></USER_TEMPLATE>":                  {Service: -1},
	}
	for user, want := range texts {
		want.ID, want.Name, want.Owner, want.State, want.LCMState = 7, "thing", headOwner, one.VMActive, one.LCMRunning
		oned.accepts("<VM><ID>7</ID>" + head + tail + user + "</VM>")
		vm, err := session.VM(t.Context(), 7)
		if err != nil || vm != want {
			t.Errorf("%q: got %+v, %v", user, vm, err)
		}
	}
}

func TestUserAndEffectiveGroup(t *testing.T) {
	oned := newFakeOned(t)
	client := newTestClient(t, oned.URL)
	oned.accepts("<USER><ID>5</ID><GID>101</GID><GROUPS><ID>101</ID><ID>104</ID></GROUPS><GNAME>lab</GNAME><NAME>ada</NAME><ENABLED>1</ENABLED>" +
		"<LOGIN_TOKEN><TOKEN>t1</TOKEN><EXPIRATION_TIME>1</EXPIRATION_TIME><EGID>-1</EGID></LOGIN_TOKEN>" +
		"<LOGIN_TOKEN><TOKEN>t2</TOKEN><EXPIRATION_TIME>1</EXPIRATION_TIME><EGID>104</EGID></LOGIN_TOKEN>" +
		"<LOGIN_TOKEN><TOKEN>t3</TOKEN><EXPIRATION_TIME>1</EXPIRATION_TIME><EGID>101</EGID></LOGIN_TOKEN></USER>")
	for _, c := range []struct {
		session *Session
		group   int
		scoped  bool
	}{
		{client.With("ada", "password"), 101, false},
		{client.With("ada", "t1"), 101, false},
		{client.With("ada", "t2"), 104, true},
		{client.With("ada", "t3"), 101, true},
		{client.For("ada"), 101, false},
		{client.For("ada:104"), 104, true},
		{client.For("ada:101"), 101, true},
	} {
		user, err := c.session.User(t.Context(), -1)
		if err != nil || user.Identity != headOwner || !reflect.DeepEqual(user.Groups, []int{101, 104}) || !user.Enabled {
			t.Fatalf("got %+v, %v", user, err)
		}
		if user.EffectiveGID != c.group || user.Scoped != c.scoped {
			t.Errorf("effective group %d, alone %t, want %d, %t", user.EffectiveGID, user.Scoped, c.group, c.scoped)
		}
	}
}

func TestVMTemplate(t *testing.T) {
	oned := newFakeOned(t)
	oned.accepts("<VMTEMPLATE><ID>3</ID>" + head + "<TEMPLATE><CPU><![CDATA[1]]></CPU></TEMPLATE></VMTEMPLATE>")
	template, err := newTestClient(t, oned.URL).Server().VMTemplate(t.Context(), 3)
	if err != nil || template.ID != 3 || string(template.Template) != "<CPU><![CDATA[1]]></CPU>" {
		t.Fatalf("got %+v, %v", template, err)
	}
}

func TestRemainingCallsSendTheirArguments(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	oned.acceptsID(7)
	check := func(want string, err error) {
		t.Helper()
		call := oned.lastCall()
		if got := fmt.Sprint(call.Method, " ", call.arguments(t)[1:]); err != nil || got != want {
			t.Errorf("sent %s, %v; want %s", got, err, want)
		}
	}
	check(`one.vm.recover [{int 7} {int 2}]`, session.RecoverVM(t.Context(), 7, RecoverRetry))
	check(`one.vm.update [{int 7} {string A=1} {int 1}]`, session.UpdateVM(t.Context(), 7, "A=1", true))
	check(`one.vm.update [{int 7} {string A="2"} {int 0}]`, session.UpdateVM(t.Context(), 7, `A="2"`, false))
	check(`one.vm.action [{string terminate-hard} {int 7}]`, session.ActOnVM(t.Context(), "terminate-hard", 7))
	for _, octet := range []string{"", "66", "6644", "888", "abc", "-64"} {
		if err := session.ChmodDocument(t.Context(), 1, octet); err == nil {
			t.Errorf("permissions %q were accepted", octet)
		}
	}
	oned.accepts("7.4.0")
	if version, err := session.Version(t.Context()); err != nil || version != "7.4.0" {
		t.Errorf("version %q, %v", version, err)
	}
}
