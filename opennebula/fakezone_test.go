package opennebula

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeZone is a zone of servers that say what a test has them say.
type fakeZone struct {
	servers []*fakeServer
}

// fakeServer is one of them. It answers one.document.info by documents, or as one
// that has none, and changes with its name's number.
type fakeServer struct {
	*httptest.Server
	zone *fakeZone
	quit chan struct{}

	mutex     sync.Mutex
	status    RaftStatus
	documents bool
	lists     []string // nil for the zone's servers
	slow      time.Duration
	slowFirst time.Duration // of the first call alone
	hangs     bool
	refuses   string
	before    func(method string)
	calls     map[string]int
}

func newFakeZone(t *testing.T, count int) *fakeZone {
	zone := &fakeZone{}
	for i := range count {
		s := &fakeServer{zone: zone, quit: make(chan struct{}), calls: map[string]int{}, documents: true}
		s.status = RaftStatus{ServerID: i, State: RaftFollower, Term: 1}
		s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
		t.Cleanup(func() { close(s.quit); s.Close() })
		zone.servers = append(zone.servers, s)
	}
	zone.lead(0, 1)
	return zone
}

// lead makes a server the leader of a term, which all servers but the old leader, who
// may not know, have heard of.
func (z *fakeZone) lead(n, term int) {
	for i, s := range z.servers {
		s.set(func() {
			if i == n {
				s.status.State, s.status.Term, s.status.LogTerm = RaftLeader, term, term
			} else {
				s.status.State, s.status.Term = RaftFollower, term
			}
		})
	}
}

func (s *fakeServer) set(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
}

func (s *fakeServer) count(method string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.calls[method]
}

func (s *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	var call request
	body, _ := io.ReadAll(r.Body)
	if xml.Unmarshal(body, &call) != nil {
		return
	}
	s.mutex.Lock()
	wait, hangs, before := s.slow+s.slowFirst, s.hangs, s.before
	s.slowFirst = 0
	s.calls[call.Method]++
	s.mutex.Unlock()
	if hangs {
		<-s.quit
		return
	}
	time.Sleep(wait)
	if before != nil {
		before(call.Method)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	fmt.Fprint(w, s.answer(call.Method))
}

// answer is called with the mutex held.
func (s *fakeServer) answer(method string) string {
	text := func(value string) string {
		return envelope("<boolean>1</boolean>", "<string>"+escapeXML(value)+"</string>", "<i4>0</i4>")
	}
	refusal := func(code Code, reason string) string {
		return envelope("<boolean>0</boolean>", "<string>"+escapeXML("["+method+"] "+reason)+"</string>", fmt.Sprintf("<i4>%d</i4>", code))
	}
	switch {
	case method == "one.zone.raftstatus":
		return text(fmt.Sprintf("<RAFT><SERVER_ID>%d</SERVER_ID><STATE>%d</STATE><TERM>%d</TERM><COMMIT>%d</COMMIT><LOG_INDEX>%d</LOG_INDEX><LOG_TERM>%d</LOG_TERM></RAFT>",
			s.status.ServerID, s.status.State, s.status.Term, s.status.Commit, s.status.LogIndex, s.status.LogTerm))
	case method == "one.zone.info":
		var list strings.Builder
		endpoints := s.lists
		if endpoints == nil {
			for _, other := range s.zone.servers {
				endpoints = append(endpoints, other.URL)
			}
		}
		for _, endpoint := range endpoints {
			fmt.Fprintf(&list, "<SERVER><ENDPOINT>%s</ENDPOINT></SERVER>", endpoint)
		}
		return text("<ZONE><ID>0</ID><SERVER_POOL>" + list.String() + "</SERVER_POOL></ZONE>")
	case s.refuses != "":
		return refusal(CodeInternal, s.refuses)
	case method == "one.document.info" && !s.documents:
		return refusal(CodeNoExists, "Error getting document [42].")
	case method == "one.document.info":
		return text(fmt.Sprintf("<DOCUMENT><ID>42</ID><NAME>server %d</NAME><TYPE>100</TYPE></DOCUMENT>", s.status.ServerID))
	}
	return envelope("<boolean>1</boolean>", fmt.Sprintf("<i4>%d</i4>", s.status.ServerID), "<i4>0</i4>")
}

// client is one that was told of the servers with the numbers given, and of the zone.
func (z *fakeZone) client(t *testing.T, config Config, numbers ...int) *Client {
	t.Helper()
	config.Endpoint, config.Credentials = z.servers[numbers[0]].URL, testCredentials
	for _, n := range numbers[1:] {
		config.Others = append(config.Others, z.servers[n].URL)
	}
	client := NewClient(config)
	t.Cleanup(client.Close)
	client.Follow(t.Context(), 0)
	return client
}

// closedAddress is an address at which nobody listens.
func closedAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String() + "/RPC2"
}
