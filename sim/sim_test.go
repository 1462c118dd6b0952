package sim_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

func TestMain(m *testing.M) {
	if os.Getenv(childState) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const oneadmin = "oneadmin:opennebula"

// start runs a simulator for the time of a test.
func start(t testing.TB, config sim.Config) *sim.Sim {
	t.Helper()
	s, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *sim.Sim) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// reply is an answer of oned as the tests read it.
type reply struct {
	raw   string
	ok    bool
	text  string
	code  int
	elems []string
}

func (r reply) id(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(r.text)
	if err != nil || !r.ok {
		t.Fatalf("no id in the answer: %v %q", r.ok, r.text)
	}
	return n
}

// client speaks XML-RPC without any library, as a check of the bytes.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 20 * time.Second}

func requestBody(method string, parameters ...any) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" ?><methodCall><methodName>` + method + `</methodName><params>`)
	for _, parameter := range parameters {
		switch p := parameter.(type) {
		case int:
			fmt.Fprintf(&b, "<param><value><i4>%d</i4></value></param>", p)
		case bool:
			n := 0
			if p {
				n = 1
			}
			fmt.Fprintf(&b, "<param><value><boolean>%d</boolean></value></param>", n)
		case string:
			var escaped bytes.Buffer
			_ = xml.EscapeText(&escaped, []byte(p))
			b.WriteString("<param><value><string>" + escaped.String() + "</string></value></param>")
		}
	}
	b.WriteString("</params></methodCall>\n")
	return b.String()
}

func try(t testing.TB, s *sim.Sim, method string, parameters ...any) (reply, error) {
	t.Helper()
	return post(t, s.Endpoint(), requestBody(method, parameters...))
}

func post(t testing.TB, endpoint, body string) (reply, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/xml")
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	return parseReply(t, string(raw)), nil
}

func parseReply(t testing.TB, raw string) reply {
	t.Helper()
	var parsed struct {
		Values []struct {
			Inner []struct {
				XMLName xml.Name
				Text    string `xml:",chardata"`
			} `xml:",any"`
		} `xml:"params>param>value>array>data>value"`
	}
	if err := xml.Unmarshal([]byte(raw), &parsed); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	r := reply{raw: raw}
	for _, v := range parsed.Values {
		r.elems = append(r.elems, v.Inner[0].XMLName.Local)
	}
	if len(parsed.Values) < 3 {
		return r
	}
	r.ok = parsed.Values[0].Inner[0].Text == "1"
	r.text = parsed.Values[1].Inner[0].Text
	r.code, _ = strconv.Atoi(parsed.Values[2].Inner[0].Text)
	return r
}

// call is try for calls whose answer must come.
func call(t testing.TB, s *sim.Sim, method string, parameters ...any) reply {
	t.Helper()
	r, err := try(t, s, method, parameters...)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return r
}

// must is call for calls that must succeed.
func must(t testing.TB, s *sim.Sim, method string, parameters ...any) reply {
	t.Helper()
	r := call(t, s, method, parameters...)
	if !r.ok {
		t.Fatalf("%s: %s", method, r.raw)
	}
	return r
}

// instantiate makes a VM of template 0 for a service.
func instantiate(t testing.TB, s *sim.Sim, name, extra string) int {
	t.Helper()
	return must(t, s, "one.template.instantiate", oneadmin, 0, name, false, extra, false).id(t)
}

func stateOf(s *sim.Sim, id int) string {
	for _, v := range s.VMs() {
		if v.ID == id {
			return v.StateText
		}
	}
	return ""
}

func awaitState(t testing.TB, s *sim.Sim, id int, state string) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("VM %d is %s", id, state), func() bool { return stateOf(s, id) == state })
}
