package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
)

// serve returns a client of a server that answers its n-th request, from 1 on, so.
func serve(t *testing.T, answer func(n int32, w http.ResponseWriter, r *http.Request)) *Client {
	t.Helper()
	var count atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(count.Add(1), w, r) }))
	t.Cleanup(server.Close)
	c, err := New(Credentials{Endpoint: server.URL + "/", User: "alice", Password: "a:b"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestAChangeIsSentAgainWithItsKey: where the API asks for patience, and where the connection breaks.
func TestAChangeIsSentAgainWithItsKey(t *testing.T) {
	keys := make(chan string, attempts)
	c := serve(t, func(n int32, w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "alice" || password != "a:b" || r.Header.Get("If-Match") != `"tag"` || r.URL.Path != "/flowjet/v1/service/3/scale" {
			t.Errorf("%s %s by %s:%s with %v", r.Method, r.URL, user, password, r.Header)
		}
		keys <- r.Header.Get("Idempotency-Key")
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Idempotent-Replayed", "true")
			w.Header().Set("Warning", `299 flowjet "the template no longer has heal"`)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	answer, err := c.Do(t.Context(), Request{Method: http.MethodPost, Path: "/service/3/scale", Body: map[string]int{"cardinality": 2}, IfMatch: `"tag"`})
	if err != nil || !answer.Replayed || answer.Warn != "the template no longer has heal" {
		t.Fatalf("%+v %v", answer, err)
	}
	first := <-keys
	if second, third := <-keys, <-keys; first == "" || second != first || third != first {
		t.Errorf("the keys are %q, %q, %q", first, second, third)
	}
}

// TestRefusals are the API's own words, and are not asked for twice.
func TestRefusals(t *testing.T) {
	var asked sync.Map // by path: the calls come in any order
	c := serve(t, func(_ int32, w http.ResponseWriter, r *http.Request) {
		if _, again := asked.LoadOrStore(r.URL.Path, true); again {
			t.Errorf("a refusal is asked for again: %s", r.URL.Path)
		}
		switch r.URL.Path {
		case "/flowjet/v1/service/3":
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"status": 409, "detail": "service 3 is UNDEPLOYING"}`)
		case "/flowjet/v1/service/4":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<html>`)
		case "/flowjet/v1/service/5":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"detail": "Invalid credentials"}`)
		default:
			fmt.Fprint(w, `<html>`)
		}
	})
	for path, want := range map[string]string{"/service/3": "service 3 is UNDEPLOYING", "/service/4": "is not a Flowjet API: it answers with status 404", "/service/5": `credentials of user "alice": Invalid`} {
		_, err := c.Do(t.Context(), Request{Method: http.MethodDelete, Path: path})
		var refused *Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := c.Templates(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a Flowjet API: GET ") {
		t.Errorf("a page of HTML is %v", err)
	}
}

// TestFollowGoesOnBehindTheLastEvent: a stream that breaks is opened again.
func TestFollowGoesOnBehindTheLastEvent(t *testing.T) {
	c := serve(t, func(n int32, w http.ResponseWriter, r *http.Request) {
		if since := r.URL.Query().Get("since"); n == 2 && since != "7" {
			t.Errorf("it goes on behind event %q", since)
		}
		fmt.Fprintf(w, ": hello\n\nid: %d\nevent: service\ndata: {\"service\":3,\"kind\":\"service\",\"new\":\"S%d\"}\n\n", 6+n, n)
	})
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	var heard []string
	opened := 0
	err := c.Follow(ctx, 3, true, func() { opened++ }, func(event Event) {
		heard = append(heard, event.New)
		if event.Service != 3 || len(heard) == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || strings.Join(heard, " ") != "S1 S2" || opened != 1 {
		t.Errorf("%v %v, opened %d times", err, heard, opened)
	}
}

// TestAwait waits for what is queued.
func TestAwait(t *testing.T) {
	c := serve(t, func(n int32, w http.ResponseWriter, r *http.Request) {
		states := []string{`"queued"`, `"done"`, `"refused", "message": "it is UNDEPLOYING"`}
		fmt.Fprintf(w, `{"id": "X", "state": %s}`, states[n-1])
	})
	if err := c.Await(t.Context(), "/flowjet/v1/commands/X"); err != nil {
		t.Error(err)
	}
	if err := c.Await(t.Context(), "/flowjet/v1/commands/X"); err == nil || err.Error() != "it is UNDEPLOYING" {
		t.Error(err)
	}
}

// TestCredentials are found where the oneflow command finds them.
func TestCredentials(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, name := range []string{"ONE_AUTH", "ONEFLOW_URL", "ONEFLOW_USER", "ONEFLOW_PASSWORD"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	find := func(sources Sources, want Credentials) {
		t.Helper()
		if got, err := sources.Find(); err != nil || got != want {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
	if _, err := os.Stat("/var/lib/one/.one/one_auth"); err != nil {
		if _, err := (Sources{}).Find(); err == nil || !strings.Contains(err.Error(), ".one/one_auth") {
			t.Errorf("without any: %v", err)
		}
		find(Sources{Simulated: write("simulated", "oneadmin:opennebula\n")}, Credentials{standardEndpoint, "oneadmin", "opennebula"})
	}
	write(".one/one_auth", "alice:with:colons\n")
	find(Sources{Simulated: "/nowhere"}, Credentials{standardEndpoint, "alice", "with:colons"})
	write(".one/oneflow_endpoint", "http://fe:2474\n")
	find(Sources{}, Credentials{"http://fe:2474", "alice", "with:colons"})
	t.Setenv("ONEFLOW_URL", "https://flow.example")
	t.Setenv("ONE_AUTH", write("bob", "bob:b"))
	find(Sources{}, Credentials{"https://flow.example", "bob", "b"})
	t.Setenv("ONEFLOW_USER", "carol")
	t.Setenv("ONEFLOW_PASSWORD", "c")
	find(Sources{}, Credentials{"https://flow.example", "carol", "c"})
	find(Sources{Endpoint: "http://x", AuthFile: write("dave", "dave:d")}, Credentials{"http://x", "dave", "d"})
	if _, err := (Sources{AuthFile: write("text", "one\ntwo:three\n")}).Find(); err == nil || !strings.Contains(err.Error(), "user:password") {
		t.Errorf("some text: %v", err)
	}
}
