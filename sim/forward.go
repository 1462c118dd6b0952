package sim

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// forwarding is oned's text about a write that a follower could not pass on.
const forwarding = "libcurl failed to execute the HTTP POST transaction, explaining:  "

// The refusals of a zone in an election. None of these calls has begun.
var (
	noLeaderFound = refuse(opennebula.CodeInternal, "Cannot process request, no leader found")
	inElection    = refuse(opennebula.CodeInternal, "Cannot process request, oned cluster in election mode")
	replicating   = refuse(opennebula.CodeInternal, "Cannot process request, oned cluster is replicating log")
)

// lostPlace is the answer to a write that was under way when the leader lost its
// place. What makes or removes an object is refused in oned's ordinary sentence,
// without a reason. Of everything else oned reports success, for it does
// not look whether its database took it.
func lostPlace(method string, parameters []value) answer {
	object, verb, _ := strings.Cut(strings.TrimPrefix(method, "one."), ".")
	words, known := objectWords[object]
	switch verb {
	case "instantiate":
		return refusedAnswer(refuse(opennebula.CodeAllocate, "Error allocating a new "+words+"."))
	case "allocate", "clone", "reserve", "login":
		return refusedAnswer(refuse(opennebula.CodeInternal, ""))
	case "delete":
		if known {
			return refusedAnswer(refuse(opennebula.CodeAction, "Cannot delete "+words+". "))
		}
	}
	at := 1
	if method == "one.vm.action" {
		at = 2
	}
	if at >= len(parameters) {
		return idAnswer(-1)
	}
	return idAnswer(parameters[at].number)
}

// objectWords are oned's words for objects in refusals.
var objectWords = map[string]string{
	"document": "document", "template": templateWords, "vntemplate": "virtual network template", "vn": "virtual network",
	"vrouter": "virtual router", "user": "user",
}

// route finds the server that carries out a write that came to another one: a
// follower passes it on to the leader, in a connection of its own, which leave
// gives back.
func (s *server) route(ctx context.Context, session string) (leader *server, leave func(), refused *refusal) {
	leave = func() {}
	raft := s.zone.raft
	switch phase := raft.currentPhase(); {
	case phase == phaseUnnoticed:
		return nil, leave, refuse(opennebula.CodeInternal, forwarding+s.zone.servers[raft.lastLeader()].unreachable())
	case phase == phaseElection:
		return nil, leave, inElection
	case phase == phaseUndecided:
		return nil, leave, noLeaderFound
	case raft.leads(s.index):
		if raft.reconciling() {
			return nil, leave, replicating
		}
		return s, leave, nil
	}
	n := raft.leader()
	if n < 0 {
		return nil, leave, noLeaderFound
	}
	leader = s.zone.servers[n]
	leave, err := leader.gate.enter(ctx, s.forwardTimeout())
	if err != nil {
		return nil, func() {}, refuse(opennebula.CodeInternal, forwarding+fmt.Sprintf(
			"Operation timed out after %d milliseconds with 0 bytes received", s.forwardTimeout().Milliseconds()))
	}
	leader.admit(session)
	if raft.reconciling() {
		leave()
		return nil, func() {}, replicating
	}
	return leader, leave, nil
}

// unreachable is libcurl's text about a server that does not run.
func (s *server) unreachable() string {
	host, port, _ := net.SplitHostPort(s.rpcAddress)
	return fmt.Sprintf("Failed to connect to %s port %s after 0 ms: Couldn't connect to server", host, port)
}

// minForwardTimeout bounds how long a follower waits for a connection of the
// leader's at least.
const minForwardTimeout = 200 * time.Millisecond

// forwardTimeout is how long a follower waits for a connection of the leader's.
// oned's XMLRPC_TIMEOUT_MS is to its ELECTION_TIMEOUT_MS as this is to half of
// the time of an election.
func (s *server) forwardTimeout() time.Duration {
	return max(s.zone.config.ElectionTime*2/5, minForwardTimeout)
}
