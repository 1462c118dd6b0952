package embedded

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// linkInterval is how often a server compares its routes with the others', and how long it waits for an answer.
	linkInterval = time.Second
	// sameAnswers are how many times in a row a server has to be found cut off before it leaves: of a host that dies, one server
	// learns a second or two after another. One that comes back leaves before it wants to lead, after 4 s without a leader.
	sameAnswers     = 5
	sameAnswersBack = 2
	// awayFor is after which time a server that left tries whether it is still cut off, although it cannot reach a route, if it
	// cannot find out whether the server that it misses has died since and it is needed: others need not tell their clients' addresses.
	awayFor = 30 * time.Second
)

// cut finds out whether a server is cut off from another that others of the cluster reach. NATS passes messages on once
// only, so such a server's clients reach no stream that the other leads, and the two take the leadership of each stream
// from each other for as long as it lasts. One of them has to leave.
type cut struct {
	key      nkeys.KeyPair // of a user of the system account that only this process knows; nil without such an account
	found    int           // how many times in a row
	alone    int           // how many times in a row it reached no other
	patience int
}

// allow adds the user to the server's options.
func (c *cut) allow(options *server.Options) {
	system := slices.IndexFunc(options.Accounts, func(one *server.Account) bool { return one.Name == options.SystemAccount })
	if system < 0 {
		return
	}
	if c.key == nil {
		c.key, _ = nkeys.CreateUser() // it needs nothing but random bytes
	}
	public, _ := c.key.PublicKey()
	options.Nkeys = append(options.Nkeys, &server.NkeyUser{Nkey: public, Account: options.Accounts[system]})
}

// from returns the names of the servers for which this one has to leave; none until they were found often enough.
func (c *cut) from(running *server.Server) (missed []string) {
	if missed = c.look(running); missed == nil {
		c.found = 0
	} else if c.found++; c.found >= c.needed(running.Name(), missed) {
		c.found, c.patience = 0, sameAnswersBack
		return missed
	}
	return nil
}

// needed returns how often it has to be found. Servers that miss several leave one after the other, the last name first: the
// rest would be no majority if each of three that miss the two others left.
func (c *cut) needed(self string, missed []string) int {
	needed := cmp.Or(c.patience, sameAnswers)
	if len(missed) == 1 {
		return needed
	}
	later := slices.DeleteFunc(slices.Clone(missed), func(name string) bool { return name <= self })
	return needed + len(later)*sameAnswersBack
}

func (c *cut) look(running *server.Server) []string {
	if c.key == nil {
		return nil
	}
	own, err := running.Routez(nil)
	status, problem := running.Jsz(nil)
	if err != nil || problem != nil || status.Meta == nil {
		return nil
	}
	reached := namesOf(own)
	if len(reached) >= status.Meta.Size-1 {
		c.patience, c.alone = sameAnswers, 0 // it reaches all there are
		return nil
	}
	if c.alone++; len(reached) > 0 {
		c.alone = 0
	} else if c.alone%int(awayFor/linkInterval) == sameAnswers { // it can store nothing: its clients try the other servers, and then it again
		clients, _ := running.Connz(nil)
		for _, client := range clients.Conns {
			_ = running.DisconnectClientByID(client.Cid)
		}
	}
	public, _ := c.key.PublicKey()
	conn, err := nats.Connect("", nats.InProcessServer(running), nats.Nkey(public, c.key.Sign), nats.Timeout(linkInterval))
	if err != nil {
		return nil
	}
	defer conn.Close()
	others := map[string][]string{}
	for _, route := range own.Routes {
		if _, asked := others[route.RemoteName]; asked {
			continue // routes are several connections
		}
		answer, err := conn.Request("$SYS.REQ.SERVER."+route.RemoteID+".ROUTEZ", nil, linkInterval)
		var theirs struct{ Data server.Routez }
		if err == nil && json.Unmarshal(answer.Data, &theirs) == nil {
			others[route.RemoteName] = namesOf(&theirs.Data)
		}
	}
	return missing(own.Name, reached, others, status.Meta.Size)
}

func namesOf(routes *server.Routez) (names []string) {
	for _, route := range routes.Routes {
		names = append(names, route.RemoteName)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// missing returns the servers that others of a cluster of the given size reach and this one does not, if it is the one
// that has to leave: of two that do not reach each other the one that reaches fewer, else the one whose name comes last.
// A server that is needed for a majority stays.
func missing(self string, reached []string, others map[string][]string, size int) (missed []string) {
	majority, seen := false, map[string]int{}
	for _, theirs := range others {
		majority = majority || len(theirs) > size/2 // itself instead of this server
		for _, name := range theirs {
			if seen[name]++; seen[name] == 1 && name != self && !slices.Contains(reached, name) {
				missed = append(missed, name)
			}
		}
	}
	if !majority || len(missed) == 0 {
		return nil
	}
	slices.Sort(missed)
	if other := missed[0]; len(missed) == 1 && (len(reached) > seen[other] || len(reached) == seen[other] && self < other) {
		return nil
	}
	return missed
}

// leave stops the server until it can come back: a server that it misses answers that did not before, or those that it reached know
// none of these any more, or it is time to try. One that answered is cut off by another cause than the network, such as its password.
func (s *Server) leave(missed []string) error {
	ctx, cancel := context.WithTimeout(s.life, awayFor)
	defer cancel()
	options, err := s.options()
	answered := err != nil || answers(ctx, options, missed)
	running := s.current()
	status, _ := running.Varz(nil)
	_, known := knowOthers(ctx, status.ClientConnectURLs)
	running.Shutdown()
	running.WaitForShutdown()
	for idle.For(ctx, linkInterval) == nil && (answered || !answers(ctx, options, missed)) {
		if answer, still := knowOthers(ctx, status.ClientConnectURLs); known && answer && !still {
			break
		}
	}
	return s.life.Err()
}

// answers reports whether any of the servers greets this one, with TLS after both have accepted the other's certificate.
func answers(ctx context.Context, options *server.Options, servers []string) bool {
	return slices.ContainsFunc(options.Routes, func(route *url.URL) bool {
		config := options.Cluster.TLSConfig.Clone()
		if config != nil {
			config.ServerName = route.Hostname()
		}
		return slices.Contains(servers, greeting(ctx, route.Host, config).Name)
	})
}

// knowOthers reports whether any of the servers at these addresses for clients answers, and whether they know others.
func knowOthers(ctx context.Context, addresses []string) (answer, others bool) {
	for _, address := range addresses {
		known := greeting(ctx, address, nil).ClientConnectURLs
		answer = answer || len(known) > 0
		others = others || slices.ContainsFunc(known, func(one string) bool { return !slices.Contains(addresses, one) })
	}
	return answer, others
}

// greeting returns what a server says of itself to a new connection, nothing if it does not answer. To clients it says so before TLS.
func greeting(ctx context.Context, address string, config *tls.Config) (greeting server.Info) {
	conn, err := (&net.Dialer{Timeout: linkInterval}).DialContext(ctx, "tcp", address)
	if err != nil {
		return greeting
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(linkInterval))
	if config != nil {
		conn = tls.Client(conn, config)
	}
	_, _ = io.ReadFull(conn, make([]byte, len("INFO ")))
	_ = json.NewDecoder(conn).Decode(&greeting) // as far as it can be read
	return greeting
}
