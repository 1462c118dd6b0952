package opennebula

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// probeTime bounds each question about who leads: oned may have to run an auth
	// driver before it answers the first.
	probeTime = 3 * time.Second
	// givenUp is after how many questions in a row without an answer a server is
	// said not to be reached, and no longer waited for than graceTime.
	givenUp   = 5
	graceTime = time.Second
	// rollCallEvery is how often it is looked whether each server answers.
	rollCallEvery = 10 * time.Second
)

type raftAnswer struct {
	endpoint string
	status   RaftStatus
	err      error
}

// raftPoll asks the servers of a zone about themselves, and knows which of them
// answer. It is used by one goroutine at a time.
type raftPoll struct {
	ask    asker
	logger *slog.Logger
	// heard are the servers that have ever answered, and silent how many questions
	// each has not answered in a row.
	heard  map[string]bool
	silent map[string]int
	called time.Time // when each was waited for last
}

func newRaftPoll(ask asker, logger *slog.Logger) *raftPoll {
	return &raftPoll{ask: ask, logger: logger, heard: map[string]bool{}, silent: map[string]int{}}
}

// round asks all servers at the same time and returns the answers. Where not all are
// wanted it waits for no more than are needed to be certain who leads: for servers that
// were silent lately no longer than graceTime. From time to time it waits as long for
// each, so that one which is slower than the others is not taken for silent.
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
			p.note(answer, len(servers))
		case <-grace.C:
			inGrace = false
		}
	}
	return found
}

// certain reports whether the answers found leave no doubt who leads, and whether all that
// are missing were silent lately. Then those are enough that can be reached at all.
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

// quorum is the majority of those servers that can be reached from here at all.
func (p *raftPoll) quorum(servers []string) int {
	count := 0
	for _, endpoint := range servers {
		if p.heard[endpoint] {
			count++
		}
	}
	return count/2 + 1
}

// note keeps whether a server answered, and logs once when one of several does not.
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
// newer term: one that was cut off from the others goes on saying that it leads.
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
	// A new leader begins with what it has not carried out of its predecessors', and until
	// then answers reads from an older state. It accepts changes only afterwards, so an
	// entry of its own term proves it.
	upToDate := best.status.LogTerm == best.status.Term || best.status.Commit >= best.status.LogIndex
	return best, upToDate && best.status.Term >= newest && len(found) >= quorum
}
