package sim_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

type recordedCall struct {
	Method   string `json:"method"`
	Request  string `json:"request"`
	Response string `json:"response"`
}

// refused reports whether oned refused the recorded call.
func (c recordedCall) refused() bool { return strings.Contains(c.Response, "<boolean>0</boolean>") }

var cipherSession = regexp.MustCompile(`serveradmin:\w+:SERVER_CIPHER_TOKEN`)

var wholeNumber = regexp.MustCompile(`<i4>(-?\d+)</i4>`)

// withID is the recorded request with another object's id in its nth number.
func (c recordedCall) withID(nth, id int) string {
	body := cipherSession.ReplaceAllString(c.Request, oneadmin)
	count := 0
	return wholeNumber.ReplaceAllStringFunc(body, func(found string) string {
		count++
		if count == nth {
			return "<i4>" + strconv.Itoa(id) + "</i4>"
		}
		return found
	})
}

func (c recordedCall) unchanged() string { return c.withID(0, 0) }

const serviceText = "SERVICE_ID = \"1\"\nROLE_NAME = \"Master\"\n"

// runningVM makes a running VM of a service.
func runningVM(t testing.TB, s *sim.Sim) int {
	t.Helper()
	id := instantiate(t, s, "Master_0_(service_1)", serviceText)
	awaitState(t, s, id, "RUNNING")
	return id
}

func newDocument(t testing.TB, s *sim.Sim) int {
	t.Helper()
	text := `<TEMPLATE><NAME>svc</NAME><BODY><![CDATA[{"name":"svc"}]]></BODY></TEMPLATE>`
	return must(t, s, "one.document.allocate", oneadmin, text, 100).id(t)
}

// similar turns a recorded request into one of the same kind for a new zone.
func similar(t *testing.T, s *sim.Sim, c recordedCall) string {
	t.Helper()
	if c.refused() && c.Method != "one.vm.schedadd" {
		return c.unchanged()
	}
	object, _, _ := strings.Cut(strings.TrimPrefix(c.Method, "one."), ".")
	switch {
	case c.Method == "one.documentpool.info":
		newDocument(t, s)
	case object == "document" && c.Method != "one.document.allocate":
		return c.withID(1, newDocument(t, s))
	case object == "vmpool":
		plain := instantiate(t, s, "t1", "")
		awaitState(t, s, plain, "RUNNING")
		runningVM(t, s)
		if strings.Contains(c.Response, "ERROR") {
			must(t, s, "one.vm.update", oneadmin, runningVM(t, s), "ERROR = \"deploy\"", 1)
			runningVM(t, s)
		}
	case c.Method == "one.vm.info" && strings.Contains(c.Response, "&lt;STATE&gt;1&lt;"):
		s.SetBootDelay(time.Hour)
		return c.withID(1, instantiate(t, s, "Master_0_(service_1)", serviceText))
	case c.Method == "one.vm.scheddelete":
		id := runningVM(t, s)
		must(t, s, "one.vm.schedadd", oneadmin, id, "SCHED_ACTION = [ACTION = suspend,TIME = 4000000000]")
		return c.withID(1, id)
	case object == "vm":
		return c.withID(1, runningVM(t, s))
	case object == "vn":
		return c.withID(1, similarNetwork(t, s, c))
	case c.Method == "one.vrouter.instantiate":
		newRouter(t, s)
		return strings.Replace(c.unchanged(), "<i4>3</i4>", "<i4>1</i4>", 1)
	case object == "vrouter" && c.Method != "one.vrouter.allocate":
		newRouter(t, s)
		must(t, s, "one.vrouter.instantiate", oneadmin, 0, 2, 1, "vr_%i_(service_41)", false, routerText)
	}
	return c.unchanged()
}

const routerText = "CPU = \"0.01\"\nMEMORY = \"16\"\nVROUTER = \"YES\"\nNIC = [\nNETWORK_ID = \"0\",\nFLOATING_IP = \"yes\"\n]\n" +
	"NAME = \"vr(service_41)\"\nSERVICE_ID = \"41\"\nROLE_NAME = \"vr\"\n"

func newRouter(t testing.TB, s *sim.Sim) {
	t.Helper()
	must(t, s, "one.vrouter.allocate", oneadmin, routerText)
}

func similarNetwork(t *testing.T, s *sim.Sim, c recordedCall) int {
	t.Helper()
	switch {
	case c.Method == "one.vn.reserve":
		return 0
	case strings.Contains(c.Response, "PARENT_NETWORK_AR_ID"):
		return readyNetwork(t, s, must(t, s, "one.vn.reserve", oneadmin, 0, "SIZE=5\nNAME=\"Res\"\n").id(t))
	case c.Method == "one.vn.delete" || strings.Contains(c.Response, "192.168.5.1"):
		return readyNetwork(t, s, must(t, s, "one.vntemplate.instantiate", oneadmin, 0, "Priv",
			"AR=[TYPE=IP4,IP=192.168.5.1,SIZE=20]").id(t))
	}
	runningVM(t, s)
	return 0
}

func readyNetwork(t testing.TB, s *sim.Sim, id int) int {
	t.Helper()
	poll.Until(t, "the network is READY", func() bool {
		return strings.Contains(must(t, s, "one.vn.info", oneadmin, id, false).text, "<STATE><![CDATA[1]]></STATE>")
	})
	return id
}

// TestAnswersHaveTheRecordedStructure asks for something similar to every
// recorded call. Refusals have to be the recorded ones to the byte.
func TestAnswersHaveTheRecordedStructure(t *testing.T) {
	for i, recorded := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		t.Run(strconv.Itoa(i)+" "+recorded.Method, func(t *testing.T) {
			s := start(t, sim.Config{BootDelay: sim.NoDelay})
			got, err := post(t, s.Endpoint(), similar(t, s, recorded))
			if err != nil {
				t.Fatal(err)
			}
			if recorded.refused() && got.raw != recorded.Response {
				t.Fatalf("answered %s\nrecorded %s", got.raw, recorded.Response)
			}
			want, have := answerStructure(t, recorded.Response), answerStructure(t, got.raw)
			if want != have {
				t.Fatal(difference(want, have))
			}
			if lineEnds(recorded.Response) != lineEnds(got.raw) {
				t.Errorf("the lines of the answer are %q, recorded were %q", lineEnds(got.raw), lineEnds(recorded.Response))
			}
		})
	}
}

var betweenValues = regexp.MustCompile(`(?s)<(string|i4|i8|boolean)>.*?</(string|i4|i8|boolean)>`)

// lineEnds is an answer without its values: the bytes around them.
func lineEnds(raw string) string { return betweenValues.ReplaceAllString(raw, "<$1/>") }
