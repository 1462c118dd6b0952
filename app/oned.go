package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
)

// connectOned makes the client and has oned asked who we are. A oned that is away is
// waited for, while the process is not ready; only refused credentials end it.
func (a *App) connectOned(ctx context.Context) error {
	credentials, err := a.credentials()
	if err != nil {
		return err
	}
	a.oned = opennebula.NewClient(opennebula.Config{
		Endpoint:       a.config.One.XMLRPC[0],
		Others:         a.config.One.XMLRPC[1:],
		Credentials:    credentials,
		MaxConnections: a.config.One.Connections,
		Observe:        a.reads.measure(a.metrics),
		Logger:         a.logger.With("part", "oned"),
	})
	a.onStop(func(context.Context) error { a.oned.Close(); return nil })
	return a.contact.begin(ctx, a)
}

// contact is the first contact with oned.
type contact struct {
	failed chan error

	mutex   sync.Mutex
	waiting string
}

// newContact has room for the failure of the contact itself and for the bridge's, so that
// neither waits for somebody who listens.
func newContact() *contact { return &contact{failed: make(chan error, 2)} }

// waitsFor returns what is waited for before anything can be done; empty for nothing.
func (c *contact) waitsFor() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.waiting
}

func (c *contact) set(waiting string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.waiting = waiting
}

// refusedTimes is how often oned has to refuse the credentials before that is final: a
// oned that has just started may not have its auth drivers yet.
const refusedTimes = 2

// begin asks oned who we are. What has no answer yet is asked again in the background.
func (c *contact) begin(ctx context.Context, a *App) error {
	err, final := c.ask(ctx, a)
	switch {
	case err == nil:
		return nil
	case final:
		return err
	}
	c.set(err.Error())
	a.logger.Warn("oned does not answer, retrying", "reason", err)
	a.background(ctx, func(ctx context.Context) { c.goOn(ctx, a) })
	return nil
}

// goOn asks until oned answers, or refuses for good.
func (c *contact) goOn(ctx context.Context, a *App) {
	began := time.Now()
	for idle.For(ctx, time.Second) == nil {
		err, final := c.ask(ctx, a)
		switch {
		case err == nil:
			c.set("")
			a.logger.Info("oned answers", "waited", time.Since(began).Round(time.Second))
			return
		case final:
			c.failed <- err
			return
		}
		c.set(err.Error())
	}
}

// ask reports why oned is of no use, and whether that is final.
func (c *contact) ask(ctx context.Context, a *App) (reason error, final bool) {
	asking, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	a.oned.Follow(asking, a.config.Zone)
	endpoints := strings.Join(a.config.One.XMLRPC, ", ")
	for refused := 1; ; refused++ {
		_, err := a.oned.Server().User(asking, -1)
		switch {
		case err == nil:
			return nil, false
		case !opennebula.IsCode(err, opennebula.CodeAuthentication):
			return fmt.Errorf("check the server user at oned at %s: %w: start oned, or set its endpoint with --one-xmlrpc", endpoints, err), false
		case refused == refusedTimes || idle.For(asking, time.Second) != nil:
			return fmt.Errorf("oned at %s refuses the server user of %s: put serveradmin's name and password there, or set another file with --one-auth-file", endpoints, a.config.One.AuthFile), true
		}
	}
}

// Failed receives the error that ends a process that has started: credentials that
// oned refuses when it answers at last.
func (a *App) Failed() <-chan error { return a.contact.failed }

const (
	// shareEvery is how often the share of oned's connections is worked out.
	shareEvery = 250 * time.Millisecond
	// callingFor is for how long a process counts as one that calls oned after it did.
	callingFor = 2 * time.Second
	// heardAfter is after how long the others know that a process calls oned, and have
	// given back what is its share.
	heardAfter = 3 * shareEvery
	// forQuestions is how many of the connections are left for asking who leads.
	forQuestions = 1
)

// shareOned has all processes together hold no more connections to each oned than
// one.connections, and tells them of the zone's servers.
func (a *App) shareOned(ctx context.Context) error {
	self := identityOf(a)
	share := &onedShare{oned: a.oned, reads: a.reads, hears: bridging{a}.hears, hearsCalls: bridging{a}.hearsCalls, id: self.ID, self: self, total: max(1, a.config.One.Connections-forQuestions), log: a.logger.With("part", "oned")}
	others, err := presence.Announce(a.pipe, share.announce)
	if err != nil {
		return err
	}
	a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowjet_oned_connections_allowed", Help: "Concurrent calls to oned that this process may make: its share of one.connections.",
	}, share.current))
	a.hearing = func() bool {
		return share.hears() || slices.ContainsFunc(others.Others(), func(p pipeline.Process) bool { return p.Hearing })
	}
	a.hearingCalls = func() string {
		heard := share.hearsCalls()
		for _, process := range others.Others() {
			heard = max(heard, process.Calls) // of two bridges in the moment of a take-over always the same
		}
		return heard
	}
	a.onStop(func(ctx context.Context) error { others.Leave(ctx); return nil })
	a.background(ctx, func(ctx context.Context) { share.run(ctx, others) })
	return nil
}

// onedShare is this process's share of the connections to oned.
type onedShare struct {
	oned  *opennebula.Client
	reads *onedReads
	id    string
	self  pipeline.Process
	total int
	log   *slog.Logger
	// hears reports whether this process's bridge hears everything.
	hears      func() bool
	hearsCalls func() string

	mutex sync.Mutex
	// began and called are when the process began to call oned, and when it did so last.
	began, called time.Time
	share         int
}

func (s *onedShare) announce() pipeline.Process {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	said := s.self
	said.Hearing, said.Calls = s.hears(), s.hearsCalls()
	said.Calling, said.Servers, said.OnedReads = time.Since(s.called) < callingFor, s.oned.Servers(), s.reads.lastMinute(time.Now())
	return said
}

func (s *onedShare) current() float64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return float64(s.share)
}

func (s *onedShare) run(ctx context.Context, live *presence.Presence) {
	for {
		others := live.Others()
		for _, other := range others {
			s.oned.Introduce(other.Servers)
		}
		share := s.workOut(others, time.Now())
		s.oned.SetConnections(share)
		s.mutex.Lock()
		if share != s.share {
			s.log.Debug("the share of oned's connections has changed", "connections", share, "processes", len(others)+1)
		}
		s.share = share
		s.mutex.Unlock()
		if idle.For(ctx, shareEvery) != nil {
			return
		}
	}
}

// workOut returns the share for now. The others do not count a process that has not
// called oned for a while: until they do it has what it would have if all of them called.
func (s *onedShare) workOut(others []pipeline.Process, now time.Time) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	calling := now.Sub(s.called) < callingFor
	if s.oned.Busy() {
		s.called = now
	}
	if !calling {
		s.began = now
	}
	share := presence.ShareConnections(s.total, s.id, others, now)
	if now.Sub(s.began) >= heardAfter {
		return share
	}
	for i := range others {
		others[i].Calling = true
	}
	return min(share, max(1, presence.ShareConnections(s.total, s.id, others, now)))
}
