package sim_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

func TestFaultsBelowOnedsMethods(t *testing.T) {
	s := start(t, sim.Config{})
	for body, code := range map[string]string{
		requestBody("one.vm.explode", oneadmin):   "-506",
		requestBody("one.vm.info", oneadmin):      "-501",
		requestBody("one.vm.info", oneadmin, "0"): "-501",
		requestBody("one.vm.info"):                "-501",
		requestBody(""):                           "-503",
		"no XML":                                  "-503",
		"<methodCall><methodName>one.vm.info":     "-503",
		strings.Replace(requestBody("one.vm.info", oneadmin, 0), "i4", "double", 2): "-503",
	} {
		r, err := post(t, s.Endpoint(), body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.raw, "<fault>") || !strings.Contains(r.raw, "<i4>"+code+"</i4>") {
			t.Errorf("%s was answered by %s", body, r.raw)
		}
	}
}

func TestTypesOfOtherClients(t *testing.T) {
	s := start(t, sim.Config{})
	newDocument(t, s)
	body := requestBody("one.document.info", oneadmin, 0)
	for _, replaced := range [][2]string{
		{"i4>", "int>"}, {"i4>", "i8>"}, {"<string>" + oneadmin + "</string>", oneadmin},
		{`<?xml version="1.0" ?>`, `<?xml version="1.0" encoding="UTF-8"?>`},
	} {
		r, err := post(t, s.Endpoint(), strings.ReplaceAll(body, replaced[0], replaced[1]))
		if err != nil || !r.ok {
			t.Errorf("with %q: %v %s", replaced[1], err, r.raw)
		}
	}
}

func TestTextComesBackUnchanged(t *testing.T) {
	s := start(t, sim.Config{})
	body := "{\"a\":\"<&>\\\"' äöü ☃ ]] > \"}\n\t"
	text := "<TEMPLATE><NAME>d</NAME><BODY><![CDATA[" + body + "]]></BODY></TEMPLATE>"
	id := must(t, s, "one.document.allocate", oneadmin, text, 100).id(t)
	shown := must(t, s, "one.document.info", oneadmin, id).text
	_, after, _ := strings.Cut(shown, "<BODY>")
	if got, _, _ := strings.Cut(after, "</BODY>"); got != "<![CDATA["+body+"]]>" {
		t.Errorf("the body came back as %q", got)
	}
}

func TestTooLongCall(t *testing.T) {
	s := start(t, sim.Config{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint(), strings.NewReader(strings.Repeat(" ", 17<<20)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return // the server may close before everything was written
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a call of 17 MiB was answered with %s", response.Status)
	}
}

func TestTakenPort(t *testing.T) {
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for what, config := range map[string]sim.Config{
		"XML-RPC":     {XMLRPCListen: address},
		"hook events": {HooksListen: address},
		"control API": {ControlListen: address},
	} {
		s, err := sim.New(config)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "\n") {
			t.Errorf("a taken port for %s: %v", what, err)
		}
	}
}
