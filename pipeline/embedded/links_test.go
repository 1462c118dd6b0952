package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/internal/testcert"
)

func TestWhichServerLeaves(t *testing.T) {
	for name, one := range map[string]struct {
		self    string
		reached []string
		others  map[string][]string
		size    int
		want    []string
	}{
		"all reach each other": {"b", []string{"a", "c"}, map[string][]string{"a": {"b", "c"}, "c": {"a", "b"}}, 3, nil},
		"nobody answers":       {"b", []string{"a"}, nil, 3, nil},
		"a third is dead":      {"b", []string{"a"}, map[string][]string{"a": {"b"}}, 3, nil},
		"the name comes last":  {"c", []string{"b"}, map[string][]string{"b": {"a", "c"}}, 3, []string{"a"}},
		"the name comes first": {"a", []string{"b"}, map[string][]string{"b": {"a", "c"}}, 3, nil},
		"of five it misses more": {"a", []string{"b"},
			map[string][]string{"b": {"a", "c", "d", "e"}}, 5, []string{"c", "d", "e"}},
		"of five the other misses more": {"e", []string{"b", "c", "d"},
			map[string][]string{"b": {"a", "c", "d", "e"}, "c": {"b", "d", "e"}, "d": {"b", "c", "e"}}, 5, nil},
		"of five one misses two and is missed": {"a", []string{"d", "e"},
			map[string][]string{"d": {"a", "b", "c", "e"}, "e": {"a", "b", "c", "d"}}, 5, []string{"b", "c"}},
		"it misses fewer, by the answers": {"z", []string{"b", "c"},
			map[string][]string{"b": {"a", "c", "z"}, "c": {"b", "z"}}, 4, nil},
		"it is needed for a majority": {"c", []string{"b"}, map[string][]string{"b": {"a", "c"}}, 5, nil},
	} {
		if got := missing(one.self, one.reached, one.others, one.size); !reflect.DeepEqual(got, one.want) {
			t.Errorf("%s: it leaves for %v, want %v", name, got, one.want)
		}
	}
}

// Whichever three of the links between five servers are cut, a majority stays, and all of it reach each other.
func TestFiveServersStayAMajority(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	var pairs []string
	for i := range names {
		for _, other := range names[:i] {
			pairs = append(pairs, other+names[i])
		}
	}
	for i := range pairs {
		for j := range i + 1 {
			for k := range j + 1 {
				cuts := []string{pairs[i], pairs[j], pairs[k]}
				stay := stayOf(names, cuts)
				if len(stay) < 3 || slices.ContainsFunc(cuts, func(pair string) bool {
					return slices.Contains(stay, pair[:1]) && slices.Contains(stay, pair[1:])
				}) {
					t.Errorf("with %v cut %v stay", cuts, stay)
				}
			}
		}
	}
}

// stayOf returns the servers that stay when links are cut, each a pair of names.
func stayOf(servers, cuts []string) []string {
	found := map[string]int{}
	for range 4 * sameAnswers {
		reached := map[string][]string{}
		for _, a := range servers {
			for _, b := range servers {
				if a != b && !slices.Contains(cuts, min(a, b)+max(a, b)) {
					reached[a] = append(reached[a], b)
				}
			}
		}
		servers = slices.DeleteFunc(slices.Clone(servers), func(self string) bool {
			others := map[string][]string{}
			for _, name := range reached[self] {
				others[name] = reached[name]
			}
			missed := missing(self, reached[self], others, 5)
			if found[self]++; missed == nil {
				found[self] = 0
			}
			return missed != nil && found[self] >= new(cut).needed(self, missed)
		})
	}
	return servers
}

// A cluster of the file alone pings as seldom as nats-server does: of a host that dies, servers learn half a minute apart.
func TestAClusterOfTheFileAloneStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.conf")
	must(t, os.WriteFile(file, []byte(`cluster { name: c, listen: "127.0.0.1:-1" }
accounts { S { users: [] } }
system_account: S`), 0o600))
	server := &Server{config: Config{StoreDir: t.TempDir(), File: file}}
	if options, err := server.options(); err != nil || len(options.Nkeys) > 0 {
		t.Errorf("it watches its routes: %v, %v", options, err)
	}
}

// Of two servers that do not reach each other one leaves, and the others store
// messages. It comes back when they reach each other again, and so it does if it
// is cut off once more.
func TestACutBetweenTwoOfThreeServers(t *testing.T) {
	listen := ports.Free(t, 3)
	between := &link{t: t} // of the first two
	known := []string{between.to(listen[0]), between.to(listen[1]), listen[2]}
	certificate, key, _ := testcert.SelfSigned(t)
	var servers []*Server
	var files []string
	for i, address := range listen {
		file := filepath.Join(t.TempDir(), "server.conf")
		must(t, os.WriteFile(file, []byte(`cluster { advertise: "`+known[i]+`", tls { cert_file: "`+certificate+`", key_file: "`+key+`", ca_file: "`+certificate+`", verify: true } }
accounts { A { jetstream: enabled, users: [ { user: a, password: a } ] }, S { users: [] } }
system_account: S`), 0o600))
		files = append(files, file)
		routes := []string{"nats://" + listen[0], "nats://" + listen[1], "nats://" + listen[2]}
		if i < 2 {
			routes[1-i] = "nats://" + known[1-i]
		}
		servers = append(servers, startServer(t, Config{
			StoreDir: t.TempDir(), Name: fmt.Sprintf("n%d", i), File: file, Cluster: &Cluster{Listen: address, Routes: routes},
		}))
	}
	var clients []jetstream.JetStream
	for _, server := range servers {
		clients = append(clients, client(t, server, nats.UserInfo("a", "a")))
	}
	replicated(t, clients[0])
	store := func(when string, through ...int) {
		for _, client := range through {
			attempt(t, fmt.Sprintf("server %d to store a message %s", client, when), func(ctx context.Context) error {
				_, err := clients[client].Publish(ctx, "s", nil)
				return err
			})
		}
	}
	for range 2 {
		store("before", 0, 1, 2)
		between.cut(true)
		poll.Until(t, "the second server to leave", func() bool { return !servers[1].current().Running() })
		store("while one is cut off", 0, 2)
		between.cut(false)
		poll.Until(t, "the second server to come back", servers[1].Ready)
		store("afterwards", 0, 1, 2)
	}
	// It comes back as soon as the other answers, also if that is while it stops, and with its file as it is then.
	between.cut(true)
	poll.Until(t, "the second server to leave once more", func() bool { return !servers[1].current().Running() })
	between.cut(false)
	text, err := os.ReadFile(files[1])
	must(t, err)
	must(t, os.WriteFile(files[1], bytes.Replace(text, []byte("users: [ "), []byte("users: [ { user: b, password: b }, "), 1), 0o600))
	_ = servers[1].Reload() // of a server that has stopped
	began := time.Now()
	poll.Until(t, "the second server to come back at once", servers[1].Ready)
	if took := time.Since(began); took > awayFor/2 {
		t.Errorf("it came back after %v", took)
	}
	conn, err := nats.Connect(servers[1].URL(), nats.UserInfo("b", "b"))
	must(t, err)
	conn.Close()
	// It is needed, and comes back, when the other dies while the two are cut off from each other.
	between.cut(true)
	poll.Until(t, "the second server to leave again", func() bool { return !servers[1].current().Running() })
	store("while it is away", 2)
	must(t, servers[0].Stop(t.Context()))
	began = time.Now()
	poll.Until(t, "the second server to come back for the first", servers[1].Ready)
	if took := time.Since(began); took > awayFor/2 {
		t.Errorf("it came back after %v", took)
	}
	store("with the first one dead", 1, 2)
	// One that reaches no other sends its clients away, again and again: they try the others first.
	last := clients[1].Conn()
	before := last.Stats().Reconnects
	must(t, servers[2].Stop(t.Context()))
	poll.Until(t, "the last server to send its clients away", func() bool { return last.Stats().Reconnects > before })
}

// link is what passes the connections between two servers on, and can be cut.
type link struct {
	t      *testing.T
	mu     sync.Mutex
	broken bool
	conns  []net.Conn
}

// to returns an address that leads to the server's.
func (l *link) to(address string) string {
	listener, err := new(net.ListenConfig).Listen(l.t.Context(), "tcp", "127.0.0.1:0")
	must(l.t, err)
	var passing sync.WaitGroup
	l.t.Cleanup(func() { _ = listener.Close(); l.cut(true); passing.Wait() })
	passing.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
			if err != nil || !l.pass(from, to) {
				_ = from.Close()
				continue
			}
			passing.Go(func() { _, _ = io.Copy(to, from); _ = to.Close() })
			passing.Go(func() { _, _ = io.Copy(from, to); _ = from.Close() })
		}
	})
	return listener.Addr().String()
}

func (l *link) pass(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conns...)
	if l.broken {
		l.close()
	}
	return !l.broken
}

func (l *link) cut(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken = broken; broken {
		l.close()
	}
}

func (l *link) close() {
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}
