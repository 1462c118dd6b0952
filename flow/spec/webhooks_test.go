package spec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

func TestWebhooksOfATemplate(t *testing.T) {
	held := `{"name":"a","roles":[{"name":"r","type":"vm","template_id":0,"cardinality":1}],"flowjet_webhooks":%s}`
	for value, want := range map[string]string{
		`[{"url":"https://host/path?x=1","secret":"team-a","kinds":["service","vm"]}]`: "",
		`[{"url":"http://10.0.0.1:8080/"}]`:                                            "",
		`[]`:                                                                           "",
		`{"url":"https://host"}`:                                                       "must be a list like",
		`[{"url":"https://host","password":"x"}]`:                                      "must be a list like",
		`[{"url":"ftp://host/"}]`:                                                      "must look like https://host/path",
		`[{"url":"https:///path"}]`:                                                    "must look like https://host/path",
		`[{"url":"https://user:verysecret@host/"}]`:                                    "must not contain a user or password",
		`[{"url":"https://host:0/"}]`:                                                  "the port must be between 1 and 65535",
		`[{"url":"https://host:65536/"}]`:                                              "the port must be between 1 and 65535",
		`[{"url":"https://[::1]:99999999999999999999/"}]`:                              "the port must be between 1 and 65535",
		`[{"url":"https://host:65535/"}]`:                                              "",
		`[{"url":"https://host/#a"}]`:                                                  "fragment (#)",
		`[{"url":"https://host/","secret":"a secret with blanks"}]`:                    "must be the name of a secret",
		`[{"url":"https://host/","kinds":["all"]}]`:                                    "the kinds are [service role",
		`[{"url":"https://host/` + strings.Repeat("a", 1024) + `"}]`:                   "the maximum is 1024",
		`[{"url":"https://a/"},{"url":"https://a/"},{"url":"https://a/"},{"url":"https://a/"},{"url":"https://a/"}]`: "the maximum is 4",
	} {
		body, err := template.Read(fmt.Appendf(nil, held, value), time.Now())
		switch {
		case want == "" && err != nil:
			t.Errorf("%s is refused: %v", value, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s gives %v, want %q", value, err, want)
		case err != nil && strings.Contains(err.Error(), "verysecret"):
			t.Errorf("the error tells a secret: %v", err)
		}
		if webhooks, err := spec.ReadWebhooks(body); want == "" && value != "[]" && (len(webhooks) != 1 || err != nil) {
			t.Errorf("%s has the receivers %v: %v", value, webhooks, err)
		}
	}
}

func TestWebhooksWantWhatTheyName(t *testing.T) {
	if !(spec.Webhook{}).Wants("service") || (spec.Webhook{}).Wants("role") {
		t.Error("without kinds a receiver is told of the service and nothing else")
	}
	if named := (spec.Webhook{Kinds: []string{"vm"}}); named.Wants("service") || !named.Wants("vm") {
		t.Error("a receiver is told of the kinds that it names")
	}
}
