package webhooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
)

// attempt makes one attempt at a delivery of service 7 to a receiver of the settings.
func (w *world) attempt(settings Settings, delivery pipeline.Delivery) *failure {
	w.t.Helper()
	d := New(Config{Settings: settings, Version: "1.2"}, w.pipe.Pipeline)
	defer d.client.CloseIdleConnections()
	delivery.ID, delivery.Service = "7-1", 7
	if delivery.Body == nil {
		delivery.Body = []byte(`{}`)
	}
	l := &loop{Deliverer: d, subject: pipeline.HookSubject(delivery.Receiver, 7), service: 7}
	return l.attempt(w.t.Context(), delivery, 3)
}

// However long a receiver asks to be left alone, it is: also where the number is larger than any time.
func TestHowLongAReceiverIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	var retryAfter string
	r := newReceiver(t, func(_ int, out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Retry-After", retryAfter)
		out.WriteHeader(http.StatusTooManyRequests)
	})
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "30": 30 * time.Second, "86400": 24 * time.Hour,
		"18446744074": 292 * 365 * 24 * time.Hour, "99999999999999999999": 292 * 365 * 24 * time.Hour,
	} {
		retryAfter = text
		failed := w.attempt(settings(Receiver{Name: "ops", URL: r.URL}), pipeline.Delivery{Receiver: "ops"})
		if failed == nil || failed.after < want || want < time.Hour && failed.after > want || failed.text != "429 Too Many Requests" || failed.final {
			t.Errorf("after %q: %+v, want %s", text, failed, want)
		}
	}
}

// What a receiver gets, byte by byte: a library of Standard Webhooks has to understand it.
func TestWhatAReceiverGets(t *testing.T) {
	w := newWorld(t)
	var got http.Header
	var method, path string
	r := newReceiver(t, func(_ int, _ http.ResponseWriter, in *http.Request) {
		got, method, path = in.Header.Clone(), in.Method, in.URL.RequestURI()
	})
	unsigned, signed := Receiver{Name: "ops", URL: r.URL + "/hook?key=1"}, Receiver{Name: "signed", URL: r.URL, SecretFile: w.secret()}
	if failed := w.attempt(settings(unsigned), pipeline.Delivery{Receiver: "ops", Body: []byte(`{"a": 1}`)}); failed != nil {
		t.Fatalf("it fails: %+v", failed)
	}
	if came := r.next(t); came.body != `{"a": 1}` || came.id != "7-1" || came.attempt != 3 || time.Since(came.at).Abs() > time.Minute {
		t.Errorf("came %+v", came)
	}
	if method != http.MethodPost || path != "/hook?key=1" || got.Get("Content-Type") != "application/json" || got.Get("User-Agent") != "Flowjet/1.2" || got[HeaderSignature] != nil {
		t.Errorf("%s %s with %v", method, path, got)
	}
	if failed := w.attempt(settings(signed), pipeline.Delivery{Receiver: "signed"}); failed != nil {
		t.Fatalf("it fails: %+v", failed)
	}
	if came := r.next(t); came.signature != Sign([]byte(secretText), "7-1", came.at, []byte(`{}`)) {
		t.Errorf("it is signed %q", came.signature)
	}
}

// The example of the Standard Webhooks' documentation: receivers check signatures with those libraries.
func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret, err := readSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
}

// What an answer means: any 2xx is enough, however its body goes on; all else is tried again, and says in one line why.
func TestWhatAnAnswerMeans(t *testing.T) {
	w := newWorld(t)
	hang := func(out http.ResponseWriter, in *http.Request) {
		_ = http.NewResponseController(out).Flush()
		<-in.Context().Done()
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"ok":                   {func(http.ResponseWriter, *http.Request) {}, ""},
		"no content":           {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusNoContent) }, ""},
		"ok without an end":    {hang, ""},
		"ok with a large body": {func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(make([]byte, 1<<20)) }, ""},
		"gone":                 {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusGone) }, "410 Gone"},
		"a redirect":           {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusFound) }, "302 Found: redirects are not followed"},
		"unauthorized":         {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusUnauthorized) }, "401 Unauthorized"},
		"nothing":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"nothing in time":      {func(_ http.ResponseWriter, in *http.Request) { <-in.Context().Done() }, "no answer before the timeout"},
		"too large headers": {func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("X-Large", strings.Repeat("x", 64<<10))
		}, "exceeded"},
	} {
		r := newReceiver(t, func(_ int, out http.ResponseWriter, in *http.Request) { test.answer(out, in) })
		given := settings(Receiver{Name: "ops", URL: r.URL + "/?token=geheim"})
		switch name { // what hangs is awaited for this long, and all else answers in time on a busy machine, too
		case "ok without an end":
			given.Timeout = 3 * time.Second
		case "nothing in time":
			given.Timeout = 50 * time.Millisecond
		}
		failed := w.attempt(given, pipeline.Delivery{Receiver: "ops"})
		switch {
		case test.want == "" && failed != nil:
			t.Errorf("%s: %+v", name, failed)
		case test.want != "" && (failed == nil || !strings.Contains(failed.text, test.want) || failed.final || strings.Contains(failed.text, "geheim") || strings.Contains(failed.text, "\n")):
			t.Errorf("%s: %+v, want %q", name, failed, test.want)
		}
	}
}

// The text of a failure says what took too long, has no URL, and is bounded, whatever a receiver answers.
func TestTheTextOfAFailure(t *testing.T) {
	late := fmt.Errorf("read: %w", context.DeadlineExceeded)
	for want, err := range map[string]error{
		"no answer before the timeout":       late,
		"dial tcp 10.1.2.3:443: i/o timeout": &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 443}, Err: os.ErrDeadlineExceeded},
		"lookup ops.example: no such host":   &net.DNSError{Name: "ops.example", Err: "no such host", IsNotFound: true},
		strings.Repeat("x", maxText):         errors.New(strings.Repeat("x", maxText+1)),
		strings.Repeat("x", maxText-1):       errors.New(strings.Repeat("x", maxText-1) + "é"),
	} {
		if got := textOf(&url.Error{Op: "Post", URL: "https://ops.example/?token=geheim", Err: err}); got != want {
			t.Errorf("%v is reported as %q, want %q", err, got, want)
		}
	}
}

// Where a delivery goes is decided by the settings of now: what they no longer have fails, for good or until they are mended.
func TestWhereADeliveryGoes(t *testing.T) {
	w := newWorld(t)
	file := w.secret()
	given := settings(Receiver{Name: "ops", URL: "https://ops.example", SecretFile: file})
	given.Secrets = []Secret{{Name: "all", File: file}, {Name: "alices", File: file, Users: []string{"alice"}}}
	closed := given
	closed.Services = false
	for name, test := range map[string]struct {
		settings        Settings
		delivery        pipeline.Delivery
		at, secret, say string
		final           bool
	}{
		"a receiver":                {given, pipeline.Delivery{Receiver: "ops", URL: "https://evil.example"}, "https://ops.example", file, "", false},
		"a receiver that is gone":   {given, pipeline.Delivery{Receiver: "other"}, "", "", "the configuration no longer has this receiver", true},
		"one of a service":          {given, pipeline.Delivery{URL: "https://a.example"}, "https://a.example", "", "", false},
		"services may have none":    {closed, pipeline.Delivery{URL: "https://a.example"}, "", "", "`services: true` in the webhooks file allows it", true},
		"but the configuration":     {closed, pipeline.Delivery{Receiver: "ops"}, "https://ops.example", file, "", false},
		"with everybody's secret":   {given, pipeline.Delivery{URL: "https://a.example", Secret: "all", Owner: "bob"}, "https://a.example", file, "", false},
		"with one's own secret":     {given, pipeline.Delivery{URL: "https://a.example", Secret: "alices", Owner: "alice"}, "https://a.example", file, "", false},
		"with another's secret":     {given, pipeline.Delivery{URL: "https://a.example", Secret: "alices", Owner: "bob"}, "", "", "the secret alices is not for services of bob", false},
		"without a known owner":     {given, pipeline.Delivery{URL: "https://a.example", Secret: "alices"}, "", "", "is not for services of", false},
		"with a secret not there":   {given, pipeline.Delivery{URL: "https://a.example", Secret: "none"}, "", "", "the configuration has no secret none", false},
		"a receiver, not a service": {given, pipeline.Delivery{Receiver: "ops", Secret: "none"}, "https://ops.example", file, "", false},
	} {
		at, secret, failed := test.settings.targetOf(test.delivery)
		if at != test.at || secret != test.secret || (failed == nil) != (test.say == "") || failed != nil && (failed.final != test.final || !strings.Contains(failed.text, test.say)) {
			t.Errorf("%s: %q, %q, %+v", name, at, secret, failed)
		}
	}
}

// A secret that cannot be read is no reason to post without a signature; when it is there again the delivery comes.
func TestASecretThatIsGone(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	file := w.secret()
	given := settings(Receiver{Name: "ops", URL: r.URL, SecretFile: file})
	for content, want := range map[string]string{"": "has 0 bytes", "short": "has 5 bytes", "whsec_***": "is not base64", strings.Repeat("x", maxSecret+1): "it must have 16 to 4096"} {
		w.must(os.WriteFile(file, []byte(content), 0o600))
		if failed := w.attempt(given, pipeline.Delivery{Receiver: "ops"}); failed == nil || failed.final || !strings.Contains(failed.text, want) {
			t.Errorf("with %.10q: %+v, want %q", content, failed, want)
		}
	}
	w.must(os.Remove(file))
	if failed := w.attempt(given, pipeline.Delivery{Receiver: "ops"}); failed == nil || failed.final || !strings.Contains(failed.text, "no such file") || r.total() > 0 {
		t.Errorf("without its file: %+v, and %d posts", failed, r.total())
	}
	w.must(os.WriteFile(file, []byte(secretText+"\r\n"), 0o600))
	if failed := w.attempt(given, pipeline.Delivery{Receiver: "ops"}); failed != nil {
		t.Errorf("with its file again: %+v", failed)
	}
}

// Receivers get the kinds and states that they want, and services that may not name receivers have none.
func TestWhichTransitionsAReceiverGets(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	vm := 21
	told := []pipeline.Transition{
		{Change: flow.Change{Kind: "service", New: "RUNNING"}}, {Change: flow.Change{Kind: "service", New: "WARNING"}},
		{Change: flow.Change{Kind: "role", Role: "web", New: "WARNING"}}, {Change: flow.Change{Kind: "vm", VM: &vm, New: "created"}},
		{Change: flow.Change{Kind: "service", New: pipeline.Deleted}},
	}
	for i := range told {
		told[i].Service, told[i].Time = 7, time.Now()
		told[i].Webhooks = []spec.Webhook{{URL: r.URL + "/theirs"}}
	}
	w.must(w.pipe.PublishTransitions(t.Context(), told, 1))
	given := settings(
		Receiver{Name: "usual", URL: r.URL}, Receiver{Name: "roles", URL: r.URL, Kinds: []string{"role", "vm"}},
		Receiver{Name: "alarms", URL: r.URL, Kinds: []string{"service", "role"}, States: []string{"WARNING"}},
		Receiver{Name: "ends", URL: r.URL, States: []string{pipeline.Deleted}},
	)
	given.Services = false
	w.start(given)
	w.tell(8, "RUNNING") // the last: nothing is found behind it
	count, want := map[string]int{}, map[string]int{"7-1": 1, "7-2": 2, "7-3": 2, "7-4": 1, "7-5": 2, "8-1": 1}
	for range 9 {
		count[r.next(t).id]++
	}
	poll.Until(t, "nothing to wait", func() bool {
		waiting, err := w.pipe.PendingDeliveries(t.Context())
		return err == nil && waiting == 0
	})
	if !maps.Equal(count, want) || r.total() != 9 {
		t.Errorf("came %v, want %v", count, want)
	}
	if letters, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 10); err != nil || len(letters) > 0 {
		t.Errorf("dead letters are %+v (%v)", letters, err)
	}
}
