package opennebula

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
)

// lives is an address at which one oned after the other listens. Connections to one outlast
// its listener.
type lives struct {
	t       *testing.T
	address string
	mutex   sync.Mutex
	bodies  []string
	// hold is closed when calls with "HOLD" in them are to be answered.
	hold, held chan struct{}
}

func (l *lives) listen() (end func()) {
	l.t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		l.t.Fatal(err)
	}
	l.address = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(l.serve)}
	go func() { _ = server.Serve(listener) }()
	l.t.Cleanup(func() { _ = server.Close() })
	return func() { _ = listener.Close() }
}

func (l *lives) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // a call that did not leave as a whole
	}
	l.mutex.Lock()
	l.bodies = append(l.bodies, string(body))
	l.mutex.Unlock()
	if strings.Contains(string(body), "HOLD") {
		close(l.held)
		<-l.hold
	}
	_, _ = io.WriteString(w, `<?xml version="1.0"?><methodResponse><params><param><value><array><data>
<value><boolean>1</boolean></value><value><i4>1</i4></value><value><i4>0</i4></value></data></array></value></param></params></methodResponse>`)
}

// count is how many calls of a method came.
func (l *lives) count(method string) (count int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, body := range l.bodies {
		if strings.Contains(body, method) {
			count++
		}
	}
	return count
}

// TestACallWithinALife: a call that waits for its slot while oned is restarted does not leave,
// nor does one that is made afterwards; in the next life both do.
func TestACallWithinALife(t *testing.T) {
	oned := &lives{t: t, address: "127.0.0.1:0", hold: make(chan struct{}), held: make(chan struct{})}
	end := oned.listen()
	client := NewClient(Config{Endpoint: "http://" + oned.address, Credentials: testCredentials, MaxConnections: 1})
	t.Cleanup(client.Close)
	first := client.Life()
	within := Within(t.Context(), first)
	if err := client.Server().DeleteDocument(within, 1); err != nil {
		t.Fatalf("in the first life: %v", err)
	}
	holding, waiting := make(chan error, 1), make(chan error, 1)
	go func() { holding <- client.Server().ActOnVM(t.Context(), "HOLD", 2) }()
	<-oned.held
	go func() { waiting <- client.Server().DeleteDocument(within, 3) }()
	poll.Until(t, "a call to wait for its slot", func() bool {
		client.slots.mutex.Lock()
		defer client.slots.mutex.Unlock()
		return client.slots.writing.Len() == 1
	})
	end()
	if client.Ping(t.Context()) || client.Life() == first {
		t.Fatal("it is not noticed that oned has ended")
	}
	oned.listen()
	close(oned.hold)
	if err := <-holding; err != nil {
		t.Fatal(err)
	}
	client.transport.CloseIdleConnections()
	if err := <-waiting; !errors.Is(err, ErrOtherLife) || !NotBegun(err) {
		t.Errorf("the call that waited: %v", err)
	}
	if err := client.Server().DeleteDocument(within, 4); !errors.Is(err, ErrOtherLife) {
		t.Errorf("the next call: %v", err)
	}
	if calls := oned.count("one.document.delete"); calls != 1 {
		t.Errorf("oned saw %d calls that were bound to the first life, not 1", calls)
	}
	if err := client.Server().DeleteDocument(Within(t.Context(), client.Life()), 5); err != nil {
		t.Errorf("in the next life: %v", err)
	}
}
