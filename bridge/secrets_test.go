package bridge

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

// planted is a secret of a certain place, which tells where it came from.
func planted(where string) string { return "PLANTED-" + where }

// callWith are the frames of a call with these arguments behind the session.
func callWith(call string, ok int, arguments ...string) [][]byte {
	var parameters strings.Builder
	for i, value := range append([]string{"****"}, arguments...) {
		fmt.Fprintf(&parameters, "<PARAMETER><POSITION>%d</POSITION><TYPE>IN</TYPE><VALUE>%s</VALUE></PARAMETER>", i+1, value)
	}
	fmt.Fprintf(&parameters, "<PARAMETER><POSITION>2</POSITION><TYPE>OUT</TYPE><VALUE>%s</VALUE></PARAMETER>", planted("answer"))
	frames := callFrames(call, parameters.String())
	return changedFrames(frames, fmt.Sprintf("EVENT API %s %d", call, ok), "<RESULT>1", fmt.Sprintf("<RESULT>%d", ok))
}

// tellingEverything are events with a secret wherever users can put one.
func tellingEverything() [][][]byte {
	vm := running(1)
	vm.Role = "web</ROLE_NAME><DB_PASSWORD><![CDATA[" + planted("user-template") + "]]></DB_PASSWORD><ROLE_NAME>web"
	withTemplate := changedFrames(vmFrames(vm), string(vmFrames(vm)[0]), "<USER_TEMPLATE>",
		"<TEMPLATE><CONTEXT><ROOT_PASSWORD>"+planted("context")+"</ROOT_PASSWORD></CONTEXT></TEMPLATE><USER_TEMPLATE>")
	network := base64.StdEncoding.EncodeToString([]byte(
		"<HOOK_MESSAGE><RESOURCE_ID>3</RESOURCE_ID><VNET><ID>3</ID><TEMPLATE><KEY>" + planted("network") + "</KEY></TEMPLATE></VNET></HOOK_MESSAGE>"))
	return [][][]byte{
		withTemplate,
		{[]byte("EVENT STATE NET/READY//3 "), []byte(network)},
		callWith("one.vm.update", 1, "1", "READY=YES\nTOKEN=\""+planted("update")+"\" <&", "1"),
		callWith("one.vm.update", 0, "1", "TOKEN="+planted("failed-update"), "1"),
		callWith("one.user.passwd", 1, "2", planted("password")),
		callWith("one.user.allocate", 1, "bob", planted("new-password"), "core"),
		callWith("one.document.update", 1, "7", `{"custom_attrs":{"secret":"`+planted("document")+`"}}`, "0"),
		callWith("one.document.allocate", 1, planted("document-template"), "100"),
		callWith("one.template.instantiate", 0, "4", "name", "false", "PASSWORD="+planted("template"), "false"),
		// And what cannot be understood.
		{[]byte("EVENT API one.vm.update 1"), []byte(base64.StdEncoding.EncodeToString([]byte(planted("malformed"))))},
		{[]byte("EVENT STATE VM/ACTIVE/RUNNING/9 "), []byte(planted("not-base64"))},
		{[]byte("EVENT STATE VM/ACTIVE/RUNNING/9 "), []byte("QUJD"), []byte(planted("third-frame"))},
	}
}

// Whatever the filter lets through, nothing that a user has put into a template, a
// document or an argument is stored, logged or told in an error.
func TestNoSecretPassesTheWidestFilter(t *testing.T) {
	var log testlog.Log
	p, publisher := newPipeline(t), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	config.Logger, config.MaxQueueBytes, config.SpillDir = log.Logger(), 1, t.TempDir()
	config.Events = slices.Concat(servicesNeed, []string{"one.user.passwd", "one.user.allocate", "one.document.update", "one.document.allocate", "one.template.instantiate"})
	b := New(config, p, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	poll.Until(t, "the feed to be held", func() bool { return b.Status()[0].Holding }) // else the small buffer forgets
	events := tellingEverything()
	for _, frames := range events {
		publisher.send(frames)
	}
	poll.Until(t, "everything to be stored", func() bool {
		status := b.Status()[0]
		return status.Published+status.DeadLetters == uint64(len(events))
	})
	kept := everything(t, p, pipeline.StreamONE)
	deadLetters := everything(t, p, pipeline.StreamDead)
	if len(kept) != 9 || len(deadLetters) != 3 {
		t.Errorf("%d events and %d dead letters", len(kept), len(deadLetters))
	}
	for _, text := range append(texts(kept, deadLetters), log.String()) {
		for _, form := range []string{"PLANTED", base64.StdEncoding.EncodeToString([]byte("PLANTED"))[:8]} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("a secret has passed: %s", text[max(0, at-200):min(len(text), at+80)])
			}
		}
	}
}

func texts(lists ...[]stored) []string {
	var all []string
	for _, list := range lists {
		for _, message := range list {
			all = append(all, fmt.Sprint(message.Subject, message.Header, string(message.Data)))
		}
	}
	return all
}

// A service's name in a key, and an id in an argument, are all that is kept of a call.
func TestOfACallOnlyItsNameAndObjectAreStored(t *testing.T) {
	_, store, publisher := hearing(t, func(c *Config) { c.Events = []string{"one.user.passwd"} })
	publisher.send(callWith("one.user.passwd", 1, "2", planted("password")))
	poll.Until(t, "the call to be stored", func() bool { return len(store.stored()) == 1 })
	event := store.events[0].Event
	event.Heard, event.Version = event.Heard.UTC(), 0
	if want := (pipeline.Event{Object: "api", ID: 2, Call: "one.user.passwd", OK: true, Heard: event.Heard}); event != want {
		t.Errorf("stored %+v", event)
	}
}
