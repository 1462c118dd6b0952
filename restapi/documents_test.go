package restapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
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

// An answer is not many times as long as its documents, because of blanks in front of short values.
func TestAnAnswerIsNotMadeOfBlanks(t *testing.T) {
	deep := `{"a":` + strings.Repeat("[", 60) + strings.Repeat("1,", 100_000) + "1" + strings.Repeat("]", 60) + "}"
	document := opennebula.Document{ID: 3, Type: 101, Body: []byte(deep)}
	for name, made := range map[string]func() (answer, error){
		"list":     func() (answer, error) { return showAll([]opennebula.Document{document}, newRendered()) },
		"document": func() (answer, error) { return show(200, document) },
	} {
		got, err := made()
		if err != nil || len(got.body) > (1+mostBlanks)*len(deep) || !json.Valid(got.body) || !bytes.Contains(got.body, []byte(deep)) {
			t.Errorf("the %s of %d bytes has %d: %v", name, len(deep), len(got.body), err)
		}
	}
}

// A document that takes long to lay out keeps nobody from reading another.
func TestOthersDoNotWaitForALongDocument(t *testing.T) {
	others := make(chan int)
	var kept *memo[int]
	kept = &memo[int]{
		make: func(document opennebula.Document) int {
			if document.ID == 1 {
				go func() { others <- kept.of(opennebula.Document{ID: 2}) }()
				select {
				case got := <-others:
					return got
				case <-time.After(poll.Limit):
					t.Error("the other one waits")
				}
			}
			return document.ID
		},
		size: func(opennebula.Document, int) int { return 1 },
	}
	if got := kept.of(opennebula.Document{ID: 1}); got != 2 {
		t.Errorf("got %d", got)
	}
	if kept.bytes != 2 || kept.of(opennebula.Document{ID: 1}) != 2 || kept.bytes != 2 {
		t.Errorf("%d bytes are kept", kept.bytes)
	}
}
