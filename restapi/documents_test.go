package restapi

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

// TestAListIsLaidOutAsIfIndentedAsAWhole: documents are written one by one, and
// clients are not to tell.
func TestAListIsLaidOutAsIfIndentedAsAWhole(t *testing.T) {
	odd := opennebula.Document{
		ID: 3, Owner: one.Identity{UID: 1, GID: 2, UName: `a "quoted" <name>`, GName: "g\n"}, Name: "na\xffme", Type: 100,
		Permissions: opennebula.Permissions{OwnerU: 1, OtherA: 1}, Body: []byte(` {"a":[1,{"b":"x<y"}],"c":{},"d":[]}` + "\n"),
	}
	broken := opennebula.Document{ID: 4, Type: 100, Body: []byte(`{"a":`)}
	invalid := opennebula.Document{ID: 5, Type: 101, Body: []byte("{\"a\":\"\xff\"}")}
	for name, documents := range map[string][]opennebula.Document{"none": nil, "one": {odd}, "several": {odd, broken, invalid, odd}} {
		answers := map[string]func() (answer, error){
			"list": func() (answer, error) { return showAll(documents, newRendered()) },
		}
		if len(documents) > 0 {
			answers["document"] = func() (answer, error) { return show(200, documents[0]) }
		}
		for kind, render := range answers {
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			var compact, indented bytes.Buffer
			if err := json.Compact(&compact, got.body); err != nil {
				t.Fatalf("%s of %s: %v in %s", kind, name, err, got.body)
			}
			if err := json.Indent(&indented, compact.Bytes(), "", "  "); err != nil || indented.String() != string(got.body) {
				t.Errorf("%s of %s: got\n%s\nwant\n%s", kind, name, got.body, &indented)
			}
		}
	}
}
