package sim

import (
	"reflect"
	"testing"

	"github.com/kolo/xmlrpc"
)

func TestDecodeRequest(t *testing.T) {
	text := "<TEMPLATE><BODY><![CDATA[{\"a\": '&amp;'}]]></BODY></TEMPLATE>\r\n\t"
	body, err := xmlrpc.EncodeMethodCall("one.document.update", "oneadmin:pass", 7, text, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []value{{text: "oneadmin:pass"}, {kind: kindInt, number: 7}, {text: text}, {kind: kindBool, number: 1}}
	if method, parameters, err := decodeRequest(body); method != "one.document.update" || !reflect.DeepEqual(parameters, want) || err != nil {
		t.Errorf("%q was read as %s %+v (%v)", body, method, parameters, err)
	}
	call := func(value string) []byte {
		return []byte("<?xml version=\"1.0\" ?><methodCall><methodName>m</methodName><params><param><value>" + value + "</value></param></params></methodCall>\n")
	}
	for written, want := range map[string]value{
		"text": {text: "text"}, "<string/>": {}, "<string>\u00e4&#8364;</string>": {text: "\u00e4\u20ac"}, "<string a='b'>c<!-- d --></string>": {text: "c"},
		"<string><![CDATA[a<]]>b</string>": {text: "a<b"}, " <i4> 1 </i4> ": {kind: kindInt, number: 1}, "<boolean>0</boolean>": {kind: kindBool},
	} {
		if _, parameters, err := decodeRequest(call(written)); err != nil || len(parameters) != 1 || parameters[0] != want {
			t.Errorf("%q was read as %+v (%v)", written, parameters, err)
		}
	}
	for _, written := range []string{"<i4>x</i4>", "<double>1</double>", "<boolean>2</boolean>", "<string>\x01</string>", "<string>\xff</string>", "<i4>1</i5>", "<string>a]]>b</string>"} {
		if _, parameters, err := decodeRequest(call(written)); err == nil {
			t.Errorf("%q was read as %+v", written, parameters)
		}
	}
}
