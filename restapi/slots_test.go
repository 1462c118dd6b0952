package restapi

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
)

// sender is a client that sends a request and not all of its body.
func sender(t *testing.T, address, user, head, body string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	request, _ := http.NewRequest(http.MethodPost, "http://x/", nil)
	name, secret, _ := strings.Cut(user, ":")
	request.SetBasicAuth(name, secret)
	if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 1000\r\n\r\n%s", head, request.Header.Get("Authorization"), body); err != nil {
		t.Fatal(err)
	}
	return conn
}

// However many bodies of a user come slowly: others are served, health too, and the user's
// own reads.
func TestSlowBodiesHoldUpNobody(t *testing.T) {
	for name, test := range map[string]struct{ head, body string }{
		"half a template": {"POST /service_template", `{"name":`},
		"nothing":         {"PUT /service_template/1", ""},
		"half an action":  {"POST /service/1/action", `{"action"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.requests = 8; l.receiving = 8 })})
			w.expect(alice, "GET", "/service", "", 200, "")
			address := strings.TrimPrefix(w.url, "http://")
			for range 20 {
				sender(t, address, alice, test.head, test.body)
			}
			poll.Until(t, "the bodies to be awaited", func() bool {
				got := w.call(alice, "POST", "/service_template", `{"name":"s","roles":[]}`)
				return got.status == 503 && got.header.Get("Retry-After") != ""
			})
			w.expect(admin, "POST", "/service_template", `{"name":"s","roles":[]}`, 201, "")
			w.expect(alice, "GET", "/service", "", 200, "")
			w.expect("", "GET", "/flowjet/v1/health", "", 200, "")
		})
	}
}

// One user's event streams leave room for everybody else's.
func TestEventStreamsAreShared(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.streams = 10; l.streamsOfUser = 3 })})
	open := func(user string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/flowjet/v1/events", nil)
		w.must(err)
		name, secret, _ := strings.Cut(user, ":")
		request.SetBasicAuth(name, secret)
		answer, err := (&http.Client{Timeout: time.Minute}).Do(request)
		w.must(err)
		t.Cleanup(func() { answer.Body.Close() })
		if answer.StatusCode != http.StatusOK {
			_, _ = io.Copy(io.Discard, answer.Body)
		}
		return answer.StatusCode
	}
	var got []int
	for range 6 {
		got = append(got, open(alice))
	}
	if fmt.Sprint(got) != "[200 200 200 429 429 429]" {
		t.Errorf("alice's streams: %v", got)
	}
	if status := open(admin); status != 200 {
		t.Errorf("beside alice's, oneadmin's is %d", status)
	}
}
