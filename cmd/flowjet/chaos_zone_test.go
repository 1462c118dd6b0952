package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// zoneServer is what the simulator says of a oned.
type zoneServer struct {
	Endpoint       string `json:"endpoint"`
	Leader         bool   `json:"leader"`
	Running        bool   `json:"running"`
	Term           int    `json:"term"`
	AuthDriverRuns int    `json:"auth_driver_runs"`
	Connections    map[string]struct {
		Now int `json:"now"`
	} `json:"connections"`
}

// zone asks the simulator for its oneds.
func (c *cloud) zone(t *testing.T) []zoneServer {
	t.Helper()
	var state struct {
		Servers []zoneServer `json:"servers"`
	}
	status, answer := c.try(t, "GET", "http://"+c.control+"/state", "")
	if status != 200 || json.Unmarshal(answer, &state) != nil {
		t.Errorf("the simulator does not tell its state: %d %s", status, answer)
	}
	return state.Servers
}

// killLeader kills the oned that leads, and has it back a little later: what it
// was doing with VMs has no end.
func (c *chaos) killLeader(ctx context.Context) {
	for i, server := range c.zone(c.t) {
		if server.Leader {
			c.restartServer(ctx, i)
			return
		}
	}
}

// restartFollower kills a oned that follows; back again it answers from its old
// database.
func (c *chaos) restartFollower(ctx context.Context) {
	servers := c.zone(c.t)
	first := c.random.IntN(len(servers))
	for i := range servers {
		if n := (first + i) % len(servers); !servers[n].Leader {
			c.restartServer(ctx, n)
			return
		}
	}
}

func (c *chaos) restartServer(ctx context.Context, n int) {
	c.watch.starts.add(1)
	c.tell(fmt.Sprintf("/servers/%d/stop", n), "")
	c.rest(ctx, 100, 3000)
	c.tell(fmt.Sprintf("/servers/%d/start", n), "")
}

// hogAddress is where the connections of another client come from where all
// addresses are of the loopback interface.
const hogAddress = "127.0.0.99"

// exhaust has another client take all connections of a oned for a second.
func (c *chaos) exhaust(ctx context.Context) {
	address := fmt.Sprintf("%s:%d", c.plan.Oneds[c.random.IntN(len(c.plan.Oneds))], c.plan.Ports.XMLRPC)
	dialer := net.Dialer{Timeout: time.Second}
	if c.network == nil {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(hogAddress)}
	}
	const oneds, aSecond = 15, time.Second
	c.watch.disturbed(aSecond + afterAPause)
	for range oneds {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return // it does not run, or the campaign is over
		}
		defer conn.Close()
		host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
		c.watch.hog(host)
	}
	c.rest(ctx, 1000, 1001)
}

// counter counts what several goroutines do.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// zoneWatch samples how many connections Flowjet holds at each oned.
type zoneWatch struct {
	// starts are those of oneds, each of which remembers no session then.
	starts counter

	mu sync.Mutex
	// until is to when connections may be there that nobody uses any more.
	until time.Time
	hogs  map[string]bool
	most  map[string]int
	// since is from when on more connections are held than may be, and excess those that
	// were for longer than aMoment, as they were shared out among front-ends.
	since  map[string]time.Time
	excess map[string]string
}

func newZoneWatch() *zoneWatch {
	return &zoneWatch{hogs: map[string]bool{"zone": true}, most: map[string]int{}, since: map[string]time.Time{}, excess: map[string]string{}}
}

// hog notes that connections from an address are not Flowjet's.
func (w *zoneWatch) hog(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hogs[address] = true
}

// disturbed notes that oned may have connections for a while longer that nobody uses: of a
// process that is suspended or cut off, or those that waited while it took none.
func (w *zoneWatch) disturbed(forAnother time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if until := time.Now().Add(forAnother); until.After(w.until) {
		w.until = until
	}
}

func (w *zoneWatch) sample(servers []zoneServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.until) {
		clear(w.since)
		return
	}
	for _, server := range servers {
		held := 0
		for peer, count := range server.Connections {
			if !w.hogs[peer] {
				held += count.Now
			}
		}
		w.most[server.Endpoint] = max(w.most[server.Endpoint], held)
		since, before := w.since[server.Endpoint]
		switch {
		case held <= connectionBudget+slack:
			delete(w.since, server.Endpoint)
		case !before:
			w.since[server.Endpoint] = now
		case now.Sub(since) > aMoment:
			w.excess[server.Endpoint] = now.Format(time.TimeOnly+".000 ") + fmt.Sprint(server.Connections)
		}
	}
}

// run samples until ctx ends.
func (w *zoneWatch) run(ctx context.Context, c *chaos) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.sample(c.zone(c.t))
		case <-ctx.Done():
			return
		}
	}
}

// connectionBudget is what Flowjet's processes may hold together at each oned, and
// slack what more they have when another process begins to call. Still more they have for
// aMoment when some that were given no processor for a second, and taken for dead, go on.
const (
	connectionBudget = 8
	slack            = 4
	aMoment          = 3 * time.Second
)

// The times for which oned keeps connections that nobody uses any more: it hears of the
// end of a process that is cut off after its KEEPALIVE_TIMEOUT.
const (
	afterACut   = 16 * time.Second
	afterAPause = 3 * time.Second
)

// checkZone: Flowjet has kept to its connections, and the authentication driver
// ran for what was not remembered: after a oned's start, once for each call
// that was under way for each of the two users.
func (c *chaos) checkZone() {
	c.t.Helper()
	servers, runs, calls := c.zone(c.t), 0, 0
	for _, server := range servers {
		runs += server.AuthDriverRuns
	}
	_, answer := c.try(c.t, "GET", "http://"+c.control+"/calls?after=1000000000", "")
	var counted struct {
		Counts map[string]int `json:"counts"`
	}
	if err := json.Unmarshal(answer, &counted); err != nil {
		c.t.Error(err)
	}
	for _, count := range counted.Counts {
		calls += count
	}
	starts := len(servers) + c.watch.starts.count()
	c.t.Logf("term %d, %d calls, %d runs of the authentication driver after %d starts of oneds, at most %v connections",
		servers[0].Term, calls, runs, starts, c.watch.most)
	if bound := starts * 2 * connectionBudget; runs > bound {
		c.t.Errorf("the authentication driver ran %d times, more than %d", runs, bound)
	}
	for endpoint, held := range c.watch.excess {
		c.t.Errorf("Flowjet held too many connections at %s for more than %s, where it may hold %d: %s", endpoint, aMoment, connectionBudget, held)
	}
}
