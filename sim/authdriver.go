package sim

import (
	"sync"
	"time"
)

const (
	// sessionLife is oned's SESSION_EXPIRATION_TIME.
	sessionLife = 15 * time.Minute
	// authDriverTime is what a run of oned's authentication driver, a process of
	// its own, costs of a processor.
	authDriverTime = 300 * time.Millisecond
)

// sessions are what one oned remembers of whom it has let in: for each user the
// one session string that was checked last.
type sessions struct {
	mu     sync.Mutex
	cached map[int]cachedSession
	runs   int
	// processor is held by a run of the driver: the server has one.
	processor chan struct{}
	cost      time.Duration
}

type cachedSession struct {
	proof string
	until time.Time
}

func newSessions(config Config) *sessions {
	return &sessions{
		cached: map[int]cachedSession{}, processor: make(chan struct{}, 1),
		cost: time.Duration(config.TimeFactor * float64(authDriverTime)),
	}
}

// has reports whether a user's proof is the one that is remembered.
func (s *sessions) has(uid int, proof string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, known := s.cached[uid]
	return known && found.proof == proof && time.Now().Before(found.until)
}

// keep remembers a user's proof in the place of any other.
func (s *sessions) keep(uid int, proof string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached[uid] = cachedSession{proof, time.Now().Add(sessionLife)}
}

// forget is for a user whose password has changed.
func (s *sessions) forget(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cached, uid)
}

// clear is for a process that ends.
func (s *sessions) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached = map[int]cachedSession{}
}

// runDriver takes the time of a run, behind those that began before it. It
// goes on when the client has left, as a process does.
func (s *sessions) runDriver(quit <-chan struct{}) {
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	select {
	case s.processor <- struct{}{}:
		defer func() { <-s.processor }()
	case <-quit:
		return
	}
	timer := time.NewTimer(s.cost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-quit:
	}
}

func (s *sessions) driverRuns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

// admit is the time that it takes a server to find out whom a session string
// stands for. Login tokens and passwords are compared in memory, a password in
// the place of what was remembered of the user; a server user's token takes a
// run of the driver unless it is the one that is remembered.
func (s *server) admit(session string) {
	var c claim
	s.view(func(cloud *cloud) { c = cloud.claim(session) })
	switch {
	case c.proof == "":
	case !c.byDriver:
		if c.valid {
			s.sessions.keep(c.who.user.ID, c.proof)
		}
	case c.who.user != nil && !s.sessions.has(c.who.user.ID, c.proof):
		s.sessions.runDriver(s.zone.quit)
		if c.valid {
			s.sessions.keep(c.who.user.ID, c.proof)
		}
	}
}

// admitted is whom a server lets in for a session string, of those that admit
// has seen.
func (s *server) admitted(cloud *cloud, session string) (identity, bool) {
	c := cloud.claim(session)
	if !c.valid && c.byDriver && c.who.user != nil {
		c.valid = s.sessions.has(c.who.user.ID, c.proof)
	}
	return c.who, c.valid
}
