package sim

import (
	"reflect"
	"testing"

	"github.com/kolo/xmlrpc"
)

// sameRequest holds what was read the fast way against encoding/xml.
func sameRequest(t *testing.T, body []byte, plain wireRequest) {
	t.Helper()
	slow, err := anyRequest(body)
	if err != nil {
		t.Fatalf("%q is no XML: %v", body, err)
	}
	method, parameters, err := plain.decoded()
	wantMethod, want, wantErr := slow.decoded()
	if method != wantMethod || !reflect.DeepEqual(parameters, want) || (err == nil) != (wantErr == nil) {
		t.Errorf("%q is %s %+v (%v), and not %s %+v (%v)", body, method, parameters, err, wantMethod, want, wantErr)
	}
}

// TestPlainRequests: what clients send is read the fast way, and as it is.
func TestPlainRequests(t *testing.T) {
	text := "<TEMPLATE><BODY><![CDATA[{\"a\": '&amp;'}]]></BODY></TEMPLATE>\r\n\t"
	body, err := xmlrpc.EncodeMethodCall("one.document.update", "oneadmin:pass", 7, text, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		string(body),
		"<?xml version=\"1.0\" ?><methodCall><methodName>one.vm.info</methodName><params><param><value><i4>1</i4></value></param></params></methodCall>\n",
		"<methodCall>\n <methodName>one.system.version</methodName>\n</methodCall>",
	} {
		plain, ok := plainRequest([]byte(body))
		if !ok {
			t.Errorf("%q was left to encoding/xml", body)
		}
		sameRequest(t, []byte(body), plain)
	}
	if _, parameters, err := decodeRequest(body); err != nil || parameters[2].text != text {
		t.Errorf("%q was read as %+v (%v)", text, parameters, err)
	}
}

// TestOddRequestsAreLeft: what the fast way does not know it does not judge.
func TestOddRequestsAreLeft(t *testing.T) {
	call := func(value string) string {
		return "<methodCall><methodName>m</methodName><params><param><value>" + value + "</value></param></params></methodCall>"
	}
	for _, body := range []string{
		"", "no XML", "<methodCall>", call("text"), call("<string/>"), call("<string>ä</string>"), call("<string>a\rb</string>"),
		call("<string>&#8364;</string>"), call("<string>&none;</string>"), call("<string>a ]]> b</string>"), call("<string a='b'>c</string>"),
		call("<string>a<!-- b --></string>"), call("<string><![CDATA[a]]>b</string>"), call("<string>a</string><i4>1</i4>"),
		`<?xml version="1.0" encoding="latin1"?>` + call("<i4>1</i4>"), call("<string>\x01</string>"), call("<i4>1</i5>"),
	} {
		if request, ok := plainRequest([]byte(body)); ok {
			t.Errorf("%q was read as %+v", body, request)
		}
	}
}
