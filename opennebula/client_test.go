package opennebula

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRefusalsCarryOnedsCode(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).With("anna", "secret")
	for code := range codeNames {
		oned.refuses(code, "[one.vm.info] Some reason.")
		_, err := session.VM(t.Context(), 7)
		if !IsCode(err, code) {
			t.Errorf("code %v: got %v", code, err)
		}
		if Ambiguous(err) != (code == CodeReplication || code == CodeInternal) {
			t.Errorf("code %v: ambiguous is %v", code, Ambiguous(err))
		}
		if Temporary(err) != (code == CodeReplication || code == CodeInternal) {
			t.Errorf("code %v: temporary is %v", code, Temporary(err))
		}
		if want := "oned refused one.vm.info: Some reason. (" + code.String() + ")"; err.Error() != want {
			t.Errorf("message %q, want %q", err, want)
		}
	}
}

func TestRefusedConnectionIsCertainlyNotApplied(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	_, err = newTestClient(t, "http://"+listener.Addr().String()+"/RPC2").Server().VM(t.Context(), 7)
	if err == nil || Ambiguous(err) || !Temporary(err) {
		t.Fatalf("want a temporary error that is not ambiguous, got %v", err)
	}
}

func TestInvalidEndpointIsAnError(t *testing.T) {
	_, err := newTestClient(t, "http://[broken").Server().VM(t.Context(), 7)
	if err == nil || Ambiguous(err) {
		t.Fatalf("got %v", err)
	}
}

func TestConnectionDroppedAfterTheCallIsAmbiguous(t *testing.T) {
	oned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	defer oned.Close()
	_, err := newTestClient(t, oned.URL).Server().InstantiateTemplate(t.Context(), 0, "a", false, "")
	if !Ambiguous(err) || !Temporary(err) {
		t.Fatalf("want an ambiguous error, got %v", err)
	}
}

// A kept connection that oned has closed meanwhile must neither fail the next
// call nor make it twice.
func TestStaleConnectionIsReplaced(t *testing.T) {
	oned := newFakeOned(t)
	oned.acceptsID(3)
	session := newTestClient(t, oned.URL).Server()
	for range 3 {
		if _, err := session.AllocateDocument(t.Context(), 100, "x", nil); err != nil && !Ambiguous(err) {
			t.Fatal(err)
		}
		oned.CloseClientConnections()
	}
	if oned.calls > 3 {
		t.Fatalf("%d calls arrived, 3 were made", oned.calls)
	}
}

func TestTimeoutIsAmbiguous(t *testing.T) {
	release := make(chan struct{})
	oned := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer oned.Close()
	defer close(release)
	client := NewClient(Config{Endpoint: oned.URL, Credentials: testCredentials, Timeout: 300 * time.Millisecond})
	defer client.Close()
	err := client.Server().DeleteDocument(t.Context(), 1)
	if !Ambiguous(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("want an ambiguous deadline error, got %v", err)
	}
}

func TestWaitingForAFreeConnectionIsNotAmbiguous(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	oned := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}))
	defer oned.Close()
	client := NewClient(Config{Endpoint: oned.URL, Credentials: testCredentials, MaxConnections: 1})
	defer client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = client.Server().DeleteDocument(context.Background(), 1)
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := client.Server().DeleteDocument(ctx, 2)
	close(release)
	<-done
	if err == nil || Ambiguous(err) {
		t.Fatalf("the second call never left, got %v", err)
	}
}

func TestUnusableAnswersAreAmbiguous(t *testing.T) {
	oned := newFakeOned(t)
	client := newTestClient(t, oned.URL)
	client.limit = 4096
	answers := map[string]string{
		"empty":         "",
		"cut off":       envelope("<boolean>1</boolean>")[:60],
		"no array":      "<methodResponse><params><param><value><string>hello</string></value></param></params></methodResponse>",
		"short array":   envelope("<boolean>1</boolean>"),
		"wrong type":    envelope("<boolean>1</boolean>", "<boolean>1</boolean>", "<i4>0</i4>"),
		"no verdict":    envelope("<i4>1</i4>", "<i4>1</i4>", "<i4>0</i4>"),
		"fault":         "<methodResponse><fault><value><struct><member><name>faultCode</name><value><i4>-506</i4></value></member><member><name>faultString</name><value><string>no such method</string></value></member></struct></value></fault></methodResponse>",
		"too large":     envelope("<boolean>1</boolean>", "<string>"+strings.Repeat("x", 5000)+"</string>", "<i4>0</i4>"),
		"an HTML page":  "<html><body>Proxy error</body></html>",
		"broken object": envelope("<boolean>1</boolean>", "<string>not XML</string>", "<i4>0</i4>"),
	}
	for name, answer := range answers {
		oned.says(answer)
		if _, err := client.Server().VM(t.Context(), 7); !Ambiguous(err) {
			t.Errorf("%s: want an ambiguous error, got %v", name, err)
		}
	}
}

// As oned answers a call with characters above U+FFFF: it has executed nothing, and refuses the same call again.
func TestACallThatOnedCannotReadIsRefused(t *testing.T) {
	oned := newFakeOned(t)
	oned.says("<methodResponse><fault><value><struct><member><name>faultCode</name><value><i4>-503</i4></value></member><member><name>faultString</name>" +
		"<value><string>Call XML not a proper XML-RPC call.</string></value></member></struct></value></fault></methodResponse>")
	_, err := newTestClient(t, oned.URL).Server().VM(t.Context(), 7)
	if Temporary(err) || !IsCode(err, CodeXMLRPC) || !strings.Contains(err.Error(), "not a proper XML-RPC call") {
		t.Errorf("want a final refusal, got %v", err)
	}
}

// A document that its owner writes at oned can name any VM, network or router. oned's library refuses to read a call with a
// larger number than XML-RPC has, which is no word about the object.
func TestNumbersThatXMLRPCLacksAreIDsOfNothing(t *testing.T) {
	oned := newFakeOned(t)
	oned.says("<methodResponse><fault><value><struct><member><name>faultCode</name><value><i4>-503</i4></value></member><member><name>faultString</name>" +
		"<value><string>Call XML not a proper XML-RPC call.</string></value></member></struct></value></fault></methodResponse>")
	session := newTestClient(t, oned.URL).Server().Confirmed()
	for _, id := range []int{math.MaxInt32 + 1, math.MaxUint32, math.MaxInt64, math.MinInt32 - 1} {
		if _, err := session.VM(t.Context(), id); Temporary(err) || Ambiguous(err) || !IsCode(err, CodeNoExists) {
			t.Errorf("VM %d: want a refusal as of a VM that does not exist, got %v", id, err)
		}
		if err := session.DeleteRouter(t.Context(), id); !IsCode(err, CodeNoExists) {
			t.Errorf("router %d: want a refusal as of a router that does not exist, got %v", id, err)
		}
	}
	if _, err := session.VM(t.Context(), math.MaxInt32); !IsCode(err, CodeXMLRPC) {
		t.Errorf("the largest id: want oned's answer, got %v", err)
	}
}

func TestStatusOtherThanOKIsAnError(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusNotFound, http.StatusBadGateway} {
		oned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(status)
		}))
		_, err := newTestClient(t, oned.URL).Server().Version(t.Context())
		oned.Close()
		if err == nil || !strings.Contains(err.Error(), "HTTP status") {
			t.Errorf("status %d: got %v", status, err)
		}
	}
}

func TestEnvironmentsProxyIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if newTransport(1).Proxy != nil {
		t.Fatal("sessions would go to a proxy")
	}
}

func TestErrorsAndLogsHoldNoSecret(t *testing.T) {
	var log bytes.Buffer
	oned := newFakeOned(t)
	client := NewClient(Config{
		Endpoint: strings.Replace(oned.URL, "http://", "http://someone:url-pass-3@", 1), Credentials: testCredentials,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	defer client.Close()
	var all []string
	try := func(err error) {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	sessions := []*Session{client.Server(), client.For("alice"), client.With("alice", "alice-pass-9")}
	for _, session := range sessions {
		oned.refuses(CodeAuthentication, "[one.user.info] User couldn't be authenticated, aborting call.")
		_, err := session.User(t.Context(), -1)
		try(err)
		oned.says("garbage")
		try(session.DeleteDocument(t.Context(), 1))
	}
	oned.Close()
	for _, session := range sessions {
		try(session.DeleteDocument(t.Context(), 1))
	}
	text := strings.Join(all, "\n") + log.String()
	for _, secret := range []string{"server-pass-7", "alice-pass-9", "url-pass-3", client.tokens.session("alice")} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret (%s) is told in:\n%s", secret, text)
		}
	}
	if len(all) != 9 {
		t.Errorf("%d errors, want 9", len(all))
	}
}
