package opennebula

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var testCredentials = Credentials{User: "serveradmin", Password: "server-pass-7"}

// request is an XML-RPC call as a server reads it.
type request struct {
	Method    string `xml:"methodName"`
	Arguments []struct {
		Inner string `xml:",innerxml"`
	} `xml:"params>param>value"`
}

// argument is an argument's type and text; i4 and int are the same to XML-RPC.
type argument struct{ Type, Text string }

func (r request) arguments(t *testing.T) []argument {
	t.Helper()
	var list []argument
	for _, raw := range r.Arguments {
		var element struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		}
		if err := xml.Unmarshal([]byte(raw.Inner), &element); err != nil {
			t.Fatalf("argument %q: %v", raw.Inner, err)
		}
		name := element.XMLName.Local
		if name == "i4" {
			name = "int"
		}
		list = append(list, argument{name, element.Text})
	}
	return list
}

// fakeOned answers every call with the same text and remembers the last call.
type fakeOned struct {
	*httptest.Server
	mutex  sync.Mutex
	answer string
	last   request
	calls  int
}

func newFakeOned(t *testing.T) *fakeOned {
	oned := &fakeOned{}
	oned.Server = httptest.NewServer(http.HandlerFunc(oned.serve))
	t.Cleanup(oned.Close)
	return oned
}

func (f *fakeOned) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.last = request{}
	f.calls++
	if err := xml.Unmarshal(body, &f.last); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprint(w, f.answer)
}

func (f *fakeOned) says(answer string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.answer = answer
}

func (f *fakeOned) accepts(value string) {
	f.says(envelope("<boolean>1</boolean>", "<string>"+escapeXML(value)+"</string>", "<i4>0</i4>"))
}

func (f *fakeOned) acceptsID(id int) {
	f.says(envelope("<boolean>1</boolean>", fmt.Sprintf("<i4>%d</i4>", id), "<i4>0</i4>"))
}

func (f *fakeOned) refuses(code Code, message string) {
	f.says(envelope("<boolean>0</boolean>", "<string>"+escapeXML(message)+"</string>", fmt.Sprintf("<i4>%d</i4>", code), "<i4>-1</i4>", "<i8>-1</i8>"))
}

func (f *fakeOned) lastCall() request {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.last
}

func envelope(values ...string) string {
	return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><array><data>\r\n<value>" +
		strings.Join(values, "</value>\r\n<value>") + "</value>\r\n</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
}

func escapeXML(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

func newTestClient(t *testing.T, endpoint string) *Client {
	client := NewClient(Config{Endpoint: endpoint, Credentials: testCredentials, Timeout: 10 * time.Second})
	t.Cleanup(client.Close)
	return client
}
