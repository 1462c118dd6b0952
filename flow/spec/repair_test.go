package spec

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// FuzzReadWritten holds that a body which is read at once, as it is written as Text writes it, is read as one that
// anybody may have written.
func FuzzReadWritten(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","deployment":"straight","roles":[{"name":"db","type":"vm","cardinality":1,"template_id":0,"state":2,"nodes":[` +
			`{"deploy_id":7,"vm_info":{"VM":{"ID":"7","UID":"0","GID":"0","UNAME":"oneadmin","GNAME":"oneadmin","NAME":"db_0_(service_3)"}}}],` +
			`"last_vmname":1}],"state":2,"start_time":1700000000,"log":[{"timestamp":1700000000,"severity":"I","message":"New state: RUNNING"}]}`,
		`{"name":"a","roles":[{"name":"db","type":"vm","cardinality":1,"template_id":0,"state":2,"nodes":[` +
			`{"deploy_id":7,"vm_info":{"VM":{"ID":"8","UID":"","GID":"","UNAME":"","GNAME":"","NAME":""}}},` +
			`{"deploy_id":7,"vm_info":{"VM":{"ID":"7","UID":"","GID":"","UNAME":"","GNAME":"","NAME":""}}}]}],"state":2}`,
		`{"name":"a","roles":[{"name":"db","type":"vm","cardinality":5000000000,"template_id":0,"state":9}],"state":77,"registration_time":4294967296}`,
		`{"name":"a","roles":[{"name":"db","type":"","cardinality":-1,"template_id":-1,"min_vms":-2,"state":-3,"nodes":[],"scale_way":4}],"state":-1,"x":{"y":[null]}}`,
		`{"name":"<&>","roles":[{"name":"db","type":"vr","cardinality":0,"template_id":0,"parents":["a"],"vrouter_id":3},{"name":"db","type":"vm","cardinality":0,"template_id":0}]}`,
		`{"name":"a","roles":[{"name":"db","type":"vm","cardinality":1,"vm_template":3}],"state":0}`,
		`{"name":"a","roles":[],"state":2,"x":[1e999]}`, `{"name":"a","roles":[],"state":2,"x":` + strings.Repeat("9", 400) + `}`, `{"name":"a1e9","roles":[],"state":2}`,
		`{"roles":[{"state":2,"x":{"&":[null,1.0,-0]},"name":"\u0041","cardinality":1,"type":"vm","template_id":0}], "state": 2,"name":"a"}`,
		`{"name":"a","roles":null}`, `{"name":"a","roles":[]}`, `{"name":"a","roles":[{}]}`, `{}`, `null`, `[]`, `{"name":"a","roles":[],"state":2,"state":3}`,
	} {
		f.Add([]byte(seed))
		if body, err := ParseBody([]byte(seed)); err == nil {
			if text, err := body.Text(); err == nil {
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, ok := readWritten(text); !ok {
			return
		}
		body, repairs, err := ReadService(text)
		foreign, more, otherErr := readForeign(text)
		if err != nil || otherErr != nil || !reflect.DeepEqual(repairs, more) {
			t.Fatalf("%s is read with %q and %v, and as anybody's with %q and %v", text, repairs, err, more, otherErr)
		}
		one, _ := body.Text()
		other, _ := foreign.Text()
		if !bytes.Equal(one, other) || !reflect.DeepEqual(body, foreign) {
			t.Errorf("%s is read as\n%s and as anybody's as\n%s", text, one, other)
		}
	})
}

// TestWrittenIsReadAtOnce holds that what Flowjet writes takes the short way, and what says the same in another order.
func TestWrittenIsReadAtOnce(t *testing.T) {
	text := `{"name":"a","roles":[{"name":"db","type":"vm","cardinality":1,"template_id":0,"state":2,"nodes":[` +
		`{"deploy_id":7,"vm_info":{"VM":{"ID":"7","UID":"0","GID":"0","UNAME":"u","GNAME":"g","NAME":"n"}}}],"last_vmname":1}],"state":2}`
	oneFlows := strings.Replace(strings.Replace(text, `"name":"a",`, "", 1), `"state":2}`, `"state":2, "name":"\u0061"}`, 1)
	for _, text := range []string{text, oneFlows} {
		if _, ok := readWritten([]byte(text)); !ok {
			t.Errorf("%s is read attribute by attribute", text)
		}
	}
}
