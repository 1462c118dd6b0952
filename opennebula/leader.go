package opennebula

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// trustLeader is for how long the leader is trusted without asking again.
	trustLeader = 2 * time.Second
	// firstPause and longPause are the least times between two rounds of questions,
	// however many calls ask for one. It grows while the zone has no leader: its
	// election is calls to the same servers.
	firstPause = 50 * time.Millisecond
	longPause  = time.Second
	// refusedPause is longPause while the servers refuse the server user, for which each runs an auth driver.
	refusedPause = 5 * time.Second
	// slowCall is the wait for a call after which the leader is asked for: a oned
	// that hangs keeps its connections open and is silent.
	slowCall = 2 * time.Second
	// electionPatience is for how long a call that was certainly not carried out is
	// retried while the zone has no leader. An election takes some five seconds.
	electionPatience = 8 * time.Second
)

// leader finds the server of the zone to which calls go.
//
// Safety: it never has a call repeated that may have been carried out; it decides
// where the next one goes, and whether a server led for certain. Liveness: a round of
// questions ends after probeTime, and there is one at a time.
type leader struct {
	poll    *raftPoll
	servers *zoneServers
	logger  *slog.Logger

	mutex     sync.Mutex
	follows   bool
	current   string
	term      int
	since     time.Time // when the term was first found, zero for the first one
	confirmed time.Time
	doubted   time.Time // when the first of the latest rounds without a certain leader ended, zero after a round with one or only refusals
	asking    bool      // a goroutine carries out rounds
	queued    *round    // not begun yet
	running   *round
	pause     time.Duration
	last      time.Time // when the last round ended
}

// round is one round of questions with its result.
type round struct {
	ended chan struct{}
	// leading is the server that certainly leads, and its term; empty without one.
	leading string
	term    int
	quorum  int // a majority of the servers that can be reached
}

// asker asks one server about the zone.
type asker interface {
	raftStatus(ctx context.Context, endpoint string) (RaftStatus, error)
	zoneServers(ctx context.Context, endpoint string, zone int) ([]string, error)
}

func newLeader(ask asker, given []string, logger *slog.Logger) *leader {
	servers := &zoneServers{ask: ask, logger: logger, given: given, known: slices.Clone(given), foreign: map[string]bool{}, ids: map[string]int{}}
	return &leader{
		poll: &raftPoll{ask: ask, logger: logger, heard: map[string]bool{}, silent: map[string]int{}}, servers: servers, logger: logger,
		current: given[0], follows: len(given) > 1, pause: firstPause,
	}
}

// endpoint returns the address of the next call, and the term in which that server is
// known to lead. A leader that was not asked lately is asked in the background.
func (l *leader) endpoint() (endpoint string, term int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.follows && time.Since(l.confirmed) > trustLeader && (len(l.servers.all()) > 1 || time.Since(l.servers.asked()) > refreshEvery) {
		l.round(false)
	}
	return l.current, l.term
}

func (l *leader) leadership() (term int, since time.Time) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return max(0, l.term), l.since
}

// doubt returns for how long no round has found a server that certainly leads; 0 if there is no other server.
func (l *leader) doubt() time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.doubted.IsZero() || !l.follows || len(l.servers.all()) < 2 {
		return 0
	}
	return time.Since(l.doubted)
}

func (l *leader) hasChoice() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.follows && len(l.servers.all()) > 1
}

// find waits for a round of questions and returns the address for calls after it.
func (l *leader) find(ctx context.Context) (endpoint string) {
	l.ask(ctx, false)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.current
}

// ask waits for a round of questions; false if ctx ends before.
func (l *leader) ask(ctx context.Context, fresh bool) (*round, bool) {
	l.mutex.Lock()
	asked := l.round(fresh)
	l.mutex.Unlock()
	select {
	case <-asked.ended:
		return asked, true
	case <-ctx.Done():
		return nil, false
	}
}

// await waits until a server certainly leads, as a round that begins from now on finds,
// and reports whether that was before ctx ended. A call made at any other server
// may still be carried out, and a read there afterwards may be outdated.
func (l *leader) await(ctx context.Context) bool {
	for {
		if asked, ended := l.ask(ctx, true); !ended || asked.leading != "" {
			return ended
		}
	}
}

// confirm reports whether the server at endpoint has led the zone in the term until
// now: it leads in it still, and no majority can have elected another since. Only a
// round that begins after the call counts. If the server lacks something, a majority has
// to: lacking is how many do, 0 for nothing that is missing.
func (l *leader) confirm(ctx context.Context, endpoint string, term, lacking int) bool {
	asked, ended := l.ask(ctx, true)
	return ended && asked.leading == endpoint && asked.term == term && (lacking == 0 || lacking >= asked.quorum)
}

// round returns a round of questions: the one under way or, if only a round that
// begins from now on counts, the next. The mutex is held. A round has its own time:
// the call that caused it may end before.
func (l *leader) round(fresh bool) *round {
	if l.running != nil && !fresh {
		return l.running
	}
	if l.queued == nil {
		l.queued = &round{ended: make(chan struct{})}
	}
	if !l.asking {
		l.asking = true
		go l.run()
	}
	return l.queued
}

// run carries out rounds until none is asked for.
func (l *leader) run() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for l.queued != nil {
		wait := time.NewTimer(max(0, l.pause-time.Since(l.last)))
		l.mutex.Unlock()
		<-wait.C
		l.mutex.Lock()
		l.running, l.queued = l.queued, nil
		l.mutex.Unlock()
		known := l.servers.all()
		found := l.servers.distinct(l.servers.complete(known, l.poll.round(known, l.servers.asked().IsZero()), l.poll))
		l.mutex.Lock()
		l.choose(found)
		close(l.running.ended)
		l.running, l.last = nil, time.Now()
	}
	l.asking = false
}

// choose uses the leader of the newest term; the mutex is held. Of a majority that elected
// the leader of a term, some know the term for as long as their data lasts: if no
// majority does any more, the zone's data was restored from older ones.
func (l *leader) choose(found []raftAnswer) {
	servers := l.servers.all()
	l.running.quorum = l.poll.quorum(servers)
	best, certain := leading(found, l.running.quorum)
	_, restored := leading(found, max(len(servers), len(l.servers.listed))/2+1)
	outdated := best == nil || best.status.Term < l.term && !restored
	switch {
	case certain && !outdated, l.poll.refused: // other processes are refused as well
		l.doubted = time.Time{}
	case l.doubted.IsZero():
		l.doubted = time.Now()
	}
	if outdated {
		longest := longPause
		if l.poll.refused {
			longest = refusedPause
		}
		l.pause = min(2*l.pause, longest)
		return
	}
	l.pause = firstPause
	if certain {
		l.running.leading, l.running.term = best.endpoint, best.status.Term
	}
	if best.endpoint != l.current {
		l.logger.Info("calls now go to another oned", "leader", best.endpoint, "before", l.current, "term", best.status.Term)
	}
	if best.status.Term != l.term && l.term > 0 {
		l.since = time.Now()
	}
	l.current, l.term, l.confirmed = best.endpoint, best.status.Term, time.Now()
}

// awaitMove asks for the leader again and again, and reports whether it became a server other than
// the one at endpoint before ctx ended.
func (l *leader) awaitMove(ctx context.Context, endpoint string) bool {
	for l.find(ctx) == endpoint {
		if idle.For(ctx, slowCall) != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

const (
	// probeTime bounds each question about the leader: oned may have to run an auth
	// driver before it answers the first.
	probeTime = 3 * time.Second
	// givenUp is the number of successive questions without an answer after which a server is
	// logged as unreachable, and no longer waited for than graceTime.
	givenUp   = 5
	graceTime = time.Second
	// rollCallEvery is how often every server is checked for an answer.
	rollCallEvery = 10 * time.Second
)

type raftAnswer struct {
	endpoint string
	status   RaftStatus
	err      error
}

// raftPoll asks the servers of a zone for their Raft status, and tracks which of them
// answer. It must not be used concurrently.
type raftPoll struct {
	ask    asker
	logger *slog.Logger
	// heard are the servers that have ever answered, and silent the number of successive
	// questions that each has not answered.
	heard  map[string]bool
	silent map[string]int
	called time.Time // when each was waited for last
	// refused is whether the last round had no answer but refusals of the server user.
	refused bool
}

// round asks all servers at the same time and returns the answers. If not all are
// wanted it waits only for as many as make the leader certain, and for servers that
// were silent lately no longer than graceTime. From time to time it waits as long for
// each, so that a slower server is not mistaken for a silent one.
func (p *raftPoll) round(servers []string, all bool) (found []raftAnswer) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan raftAnswer, len(servers))
	for _, endpoint := range servers {
		asking.Go(func() {
			status, err := p.ask.raftStatus(ctx, endpoint)
			answers <- raftAnswer{endpoint, status, err}
		})
	}
	missing := map[string]bool{}
	for _, endpoint := range servers {
		missing[endpoint] = true
	}
	refusals := 0
	defer func() { p.refused = refusals > 0 && len(found) == 0 }()
	rollCall := time.Since(p.called) >= rollCallEvery
	if rollCall {
		p.called = time.Now()
	}
	grace := time.NewTimer(graceTime)
	defer grace.Stop()
	for inGrace := true; len(missing) > 0; {
		certain, silent := p.certain(servers, found, missing)
		switch enough := certain && !all; {
		case enough && rollCall && !inGrace:
			for endpoint := range missing {
				p.note(raftAnswer{endpoint: endpoint, err: context.DeadlineExceeded}, len(servers))
			}
			return found
		case enough && !rollCall, silent && !rollCall && !inGrace && len(found) > 0:
			return found
		}
		select {
		case answer := <-answers:
			delete(missing, answer.endpoint)
			if answer.err == nil {
				found = append(found, answer)
			}
			if IsCode(answer.err, CodeAuthentication) {
				refusals++
			}
			p.note(answer, len(servers))
		case <-grace.C:
			inGrace = false
		}
	}
	return found
}

// certain reports whether the answers found leave no doubt about the leader, and whether all missing
// servers were silent lately. In that case a majority of the reachable servers is enough.
func (p *raftPoll) certain(servers []string, found []raftAnswer, missing map[string]bool) (certain, silent bool) {
	silent = true
	for endpoint := range missing {
		silent = silent && p.silent[endpoint] >= givenUp
	}
	if _, certain = leading(found, len(servers)/2+1); !certain && silent {
		_, certain = leading(found, p.quorum(servers))
	}
	return certain, silent
}

// quorum returns the majority of those servers that can be reached from here at all.
func (p *raftPoll) quorum(servers []string) int {
	count := 0
	for _, endpoint := range servers {
		if p.heard[endpoint] {
			count++
		}
	}
	return count/2 + 1
}

// note counts whether a server answered, and logs once when one of several does not.
func (p *raftPoll) note(answer raftAnswer, servers int) {
	switch {
	case answer.err == nil:
		if p.silent[answer.endpoint] >= givenUp {
			p.logger.Info("a server of the zone is reachable again", "endpoint", answer.endpoint)
		}
		p.heard[answer.endpoint], p.silent[answer.endpoint] = true, 0
		return
	case errors.Is(answer.err, context.Canceled):
		return
	}
	p.silent[answer.endpoint]++
	if p.silent[answer.endpoint] != givenUp || servers == 1 {
		return
	}
	mend := "is oned running there and reachable from here? If it is never reachable from here, list only reachable servers in one.xmlrpc"
	if IsCode(answer.err, CodeAuthentication) {
		mend = "it refuses the server user: does it belong to another zone? Then remove it from one.xmlrpc"
	}
	p.logger.Warn("a server of the zone does not answer; calls go to the other servers", "endpoint", answer.endpoint, "error", answer.err, "hint", mend)
}

// leading returns the leader of the newest term among the answers. It is certain when
// it has caught up, at least as many servers as given answered and none knows of a
// newer term: a leader that was cut off from the others still claims to lead.
func leading(found []raftAnswer, quorum int) (best *raftAnswer, certain bool) {
	newest := 0
	for i, one := range found {
		newest = max(newest, one.status.Term)
		if one.status.State.Leads() && (best == nil || one.status.Term > best.status.Term) {
			best = &found[i]
		}
	}
	if best == nil {
		return nil, false
	}
	// A new leader begins with its predecessors' log entries that it has not carried out, and until
	// then answers reads from an older state. It accepts changes only afterwards, so an
	// entry of its own term proves it.
	upToDate := best.status.LogTerm == best.status.Term || best.status.Commit >= best.status.LogIndex
	return best, upToDate && best.status.Term >= newest && len(found) >= quorum
}
