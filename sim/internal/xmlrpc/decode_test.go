package xmlrpc

import (
	"reflect"
	"testing"

	client "github.com/kolo/xmlrpc"
)

func TestDecodeCall(t *testing.T) {
	text := "<TEMPLATE><BODY><![CDATA[{\"a\": '&amp;'}]]></BODY></TEMPLATE>\r\n\t"
	body, err := client.EncodeMethodCall("one.document.update", "oneadmin:pass", 7, text, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Value{{String, "oneadmin:pass", 0}, {Int, "", 7}, {String, text, 0}, {Bool, "", 1}}
	if method, parameters, err := DecodeCall(body); method != "one.document.update" || !reflect.DeepEqual(parameters, want) || err != nil {
		t.Errorf("%q was read as %s %+v (%v)", body, method, parameters, err)
	}
	call := func(value string) []byte {
		return []byte("<?xml version=\"1.0\" ?><methodCall><methodName>m</methodName><params><param><value>" + value + "</value></param></params></methodCall>\n")
	}
	for written, want := range map[string]Value{
		"text": {Kind: String, Text: "text"}, "<string/>": {Kind: String}, "<string>\u00e4&#8364;</string>": {Kind: String, Text: "\u00e4\u20ac"}, "<string a='b'>c<!-- d --></string>": {Kind: String, Text: "c"},
		"<string><![CDATA[a<]]>b</string>": {Kind: String, Text: "a<b"}, " <i4> 1 </i4> ": {Kind: Int, Number: 1}, "<boolean>0</boolean>": {Kind: Bool},
	} {
		if _, parameters, err := DecodeCall(call(written)); err != nil || len(parameters) != 1 || parameters[0] != want {
			t.Errorf("%q was read as %+v (%v)", written, parameters, err)
		}
	}
	for _, written := range []string{"<i4>x</i4>", "<double>1</double>", "<boolean>2</boolean>", "<string>\x01</string>", "<string>\xff</string>", "<i4>1</i5>", "<string>a]]>b</string>", "<string>\U0001f600</string>"} {
		if _, parameters, err := DecodeCall(call(written)); err == nil {
			t.Errorf("%q was read as %+v", written, parameters)
		}
	}
}

func FuzzCall(f *testing.F) {
	f.Add([]byte("<methodCall><methodName>m</methodName><params><param><value><i4>1</i4></value></param></params></methodCall>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if method, _, err := DecodeCall(body); err == nil && method == "" {
			t.Errorf("%q was read as a call of nothing", body)
		}
	})
}
