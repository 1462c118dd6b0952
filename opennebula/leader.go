package opennebula

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// probeTime bounds each question about who leads.
	probeTime = time.Second
	// probePause is the least time between two rounds of such questions,
	// however many calls ask for one.
	probePause = 200 * time.Millisecond
	// trustLeader is for how long the leader is not asked whether it still is.
	trustLeader = 5 * time.Second
	// slowCall is after how long the leader is asked for while a call waits: one
	// that hangs keeps its connections open and says nothing.
	slowCall = 2 * time.Second
	// electionPatience is how long a call that was certainly not carried out is
	// tried again while the zone has no leader.
	electionPatience = 3 * time.Second
	// maxServers bounds how many servers of a zone are asked.
	maxServers = 16
)

// leader knows which of the zone's oneds the calls go to.
//
// Safety: it never has a call made again that may have been carried out; it only
// says where the next one goes. Liveness: a round of questions ends after a
// second, and there is one at a time.
type leader struct {
	ask    asker
	logger *slog.Logger
	// given are the addresses of the configuration. Of several, the zone is not
	// asked for more: the administrator knows which can be reached from here.
	given []string
	zone  int

	mutex     sync.Mutex
	follows   bool
	servers   []string // all that are known, the given ones first
	current   string
	term      int
	since     time.Time // when the term was heard of
	confirmed time.Time
	rounds    chan struct{} // closed when the round under way ends; nil without one
	last      time.Time     // when the last round ended
}

// asker asks one oned about the zone.
type asker interface {
	raftStatus(ctx context.Context, endpoint string) (RaftStatus, error)
	zoneServers(ctx context.Context, endpoint string, zone int) ([]ZoneServer, error)
}

func newLeader(ask asker, given []string, logger *slog.Logger) *leader {
	return &leader{ask: ask, logger: logger, given: given, servers: given, current: given[0], follows: len(given) > 1}
}

// endpoint is where the next call goes. A leader that was not asked lately is
// asked meanwhile.
func (l *leader) endpoint() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.several() && time.Since(l.confirmed) > trustLeader {
		l.startRound()
	}
	return l.current
}

func (l *leader) leadership() (term int, since time.Time) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.term, l.since
}

// several says that there is a choice; the mutex is held.
func (l *leader) several() bool { return l.follows && len(l.servers) > 1 }

func (l *leader) hasChoice() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.several()
}

// follow has the zone's servers asked who leads from now on, and asks them.
func (l *leader) follow(ctx context.Context, zone int) {
	l.mutex.Lock()
	l.follows, l.zone = true, zone
	l.mutex.Unlock()
	l.find(ctx)
}

// find waits for a round of questions and returns where calls go then.
func (l *leader) find(ctx context.Context) string {
	l.mutex.Lock()
	ended := l.startRound()
	l.mutex.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.current
}

// startRound starts a round of questions, or joins the one under way; the mutex
// is held. A round has its own time: the call that caused it may end before.
func (l *leader) startRound() (ended chan struct{}) {
	if l.rounds != nil {
		return l.rounds
	}
	l.rounds = make(chan struct{})
	wait := max(0, probePause-time.Since(l.last))
	go func(ended chan struct{}) {
		defer close(ended)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		<-timer.C
		l.round()
	}(l.rounds)
	return l.rounds
}

// round asks all servers, and takes over what they say.
func (l *leader) round() {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	l.mutex.Lock()
	servers := slices.Clone(l.servers)
	l.mutex.Unlock()
	found := l.poll(ctx, servers)
	if len(l.given) == 1 {
		if known := l.learn(ctx, found, servers); len(known) > len(servers) {
			found = append(found, l.poll(ctx, known[len(servers):])...)
			servers = known
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.servers, l.rounds, l.last = servers, nil, time.Now()
	l.choose(found)
}

// standing is what a server said about itself.
type standing struct {
	endpoint string
	status   RaftStatus
}

// poll asks servers at the same time; those that do not answer are left out.
func (l *leader) poll(ctx context.Context, servers []string) []standing {
	answers := make([]*standing, len(servers))
	var all sync.WaitGroup
	for i, endpoint := range servers {
		all.Go(func() {
			if status, err := l.ask.raftStatus(ctx, endpoint); err == nil {
				answers[i] = &standing{endpoint, status}
			}
		})
	}
	all.Wait()
	var found []standing
	for _, answer := range answers {
		if answer != nil {
			found = append(found, *answer)
		}
	}
	return found
}

// learn adds the servers that the zone lists, as told by one that answers.
func (l *leader) learn(ctx context.Context, found []standing, known []string) []string {
	for _, one := range found {
		servers, err := l.ask.zoneServers(ctx, one.endpoint, l.zone)
		if err != nil {
			continue
		}
		for _, server := range servers {
			if server.Endpoint != "" && !slices.Contains(known, server.Endpoint) && len(known) < maxServers {
				known = append(known, server.Endpoint)
			}
		}
		return known
	}
	return known
}

// choose takes the leader of the newest term; the mutex is held. An older one
// may be cut off from the others and not know that it has been replaced.
func (l *leader) choose(found []standing) {
	var best *standing
	for i, one := range found {
		if one.status.State.Leads() && (best == nil || one.status.Term > best.status.Term) {
			best = &found[i]
		}
	}
	if best == nil || best.status.Term < l.term {
		return
	}
	if best.endpoint != l.current {
		l.logger.Info("calls go to another oned", "leader", best.endpoint, "before", l.current, "term", best.status.Term)
	}
	if best.status.Term != l.term {
		l.since = time.Now()
	}
	l.current, l.term, l.confirmed = best.endpoint, best.status.Term, time.Now()
}

// watch calls moved when the leader turns out to be another than the one that a
// call waits for. The returned function ends it.
func (l *leader) watch(endpoint string, moved func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(slowCall, func() { l.awaitMove(ctx, endpoint, moved) })
	return func() {
		timer.Stop()
		cancel()
	}
}

func (l *leader) awaitMove(ctx context.Context, endpoint string, moved func()) {
	ticker := time.NewTicker(slowCall)
	defer ticker.Stop()
	for l.find(ctx) == endpoint {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() == nil {
		moved()
	}
}

// elsewhere says that another oned may know better than the one that was asked.
func elsewhere(err error) bool {
	_, refused := asError(err)
	return err != nil && !refused || IsCode(err, CodeReplication) || NotBegun(err)
}

// reads says that a call changes nothing, so that it can be made again whatever
// became of it.
func reads(method string) bool {
	switch _, action, _ := strings.Cut(strings.TrimPrefix(method, "one."), "."); action {
	case "info", "infoextended", "infoset", "monitoring", "raftstatus", "version":
		return true
	}
	return false
}
