package sim

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

var notAuthenticated = refuse(opennebula.CodeAuthentication, "User couldn't be authenticated, aborting call.")

// view hands the function what this server reads.
func (s *server) view(what func(c *cloud)) {
	s.zone.db.mu.RLock()
	defer s.zone.db.mu.RUnlock()
	s.zone.db.view(s.index, what)
}

// answer takes a call through delays and faults to its answer, or to a fault below oned's
// methods; nil closes the connection without one.
func (s *server) answer(ctx context.Context, body []byte) *xmlrpc.Writer {
	name, parameters, err := xmlrpc.DecodeCall(body)
	if err != nil {
		return xmlrpc.NewFault(xmlrpc.FaultParse, err.Error())
	}
	m, known := methods[name]
	if !known {
		return xmlrpc.NewFault(xmlrpc.FaultNoMethod, "Method '"+name+"' not defined")
	}
	if !m.fits(parameters) {
		takes := "nothing else"
		if m.takes != "" {
			words := strings.NewReplacer("s", "string ", "i", "int ", "b", "boolean ", "|", "and perhaps ")
			takes = strings.TrimSpace(words.Replace(m.takes))
		}
		return xmlrpc.NewFault(xmlrpc.FaultTypeMissing, "Parameters of "+name+" are not a session and "+takes)
	}
	entry := s.zone.calls.begin(name, parameters, m.secrets)
	s.admit(parameters[0].Text)
	done, err := s.process(ctx, name, m, parameters)
	if err != nil {
		return nil
	}
	s.zone.calls.finish(entry, done.who, done.answer)
	encoded := done.answer.encode(name)
	if done.dropped {
		encoded.Release()
		return nil
	}
	return encoded
}

type processed struct {
	answer  answer
	who     string
	dropped bool
}

// process takes a call to the server that carries it out, and through the
// delays and the planned faults.
func (s *server) process(ctx context.Context, name string, m method, parameters []xmlrpc.Value) (done processed, err error) {
	at := s
	if m.writes {
		s.view(func(c *cloud) {
			if who, known := s.admitted(c, parameters[0].Text); known {
				done.who = who.user.Name
			}
		})
		if done.who == "" {
			done.answer.refusal = notAuthenticated
			return done, nil
		}
		leader, leave, refused := s.route(ctx, parameters[0].Text)
		defer leave()
		if refused != nil {
			done.answer.refusal = refused
			return done, nil
		}
		at = leader
	}
	round := s.zone.raft.now().round
	leave, err := s.zone.delays.pass(ctx, name, m.writes)
	if err != nil {
		return processed{}, err
	}
	defer leave()
	planned := s.zone.callFaults.next(name)
	if planned.refusal != nil {
		return processed{answer: answer{refusal: planned.refusal}, dropped: planned.drop}, nil
	}
	done = at.carryOut(name, m, parameters)
	done.dropped = planned.drop
	if m.writes && s.zone.raft.now().round != round {
		done.answer = lostPlace(name, parameters)
	}
	return done, nil
}

func (s *server) carryOut(name string, m method, parameters []xmlrpc.Value) (done processed) {
	run := func(t *tx, c *cloud) {
		r := &request{server: s, cloud: c, tx: t, parameters: parameters}
		who, known := s.admitted(c, parameters[0].Text)
		if !known {
			done.answer.refusal = notAuthenticated
			return
		}
		r.who, done.who = who, who.user.Name
		if m.writes && s.zone.raft.now().leader() != s.index {
			done.answer = lostPlace(name, parameters)
			return
		}
		done.answer = m.run(r)
		if t != nil {
			t.afterCall = false
			t.emit(apiEvent(name, parameters, m.secrets, done.answer, r.extra))
		}
	}
	if m.silent {
		s.view(func(c *cloud) { run(nil, c) })
		return done
	}
	wait := s.zone.db.update(func(t *tx) {
		if m.writes {
			run(t, t.cloud)
			return
		}
		s.zone.db.view(s.index, func(c *cloud) { run(t, c) })
	})
	if err := wait(); err != nil {
		done.answer = answer{refusal: refuse(opennebula.CodeInternal, "The state file cannot be written: "+err.Error())}
	}
	return done
}

// forwarding is oned's text about a write that a follower could not pass on.
const forwarding = "libcurl failed to execute the HTTP POST transaction, explaining:  "

// The refusals of a zone in an election. None of these calls has begun.
var (
	noLeaderFound = refuse(opennebula.CodeInternal, "Cannot process request, no leader found")
	inElection    = refuse(opennebula.CodeInternal, "Cannot process request, oned cluster in election mode")
	replicating   = refuse(opennebula.CodeInternal, "Cannot process request, oned cluster is replicating log")
)

// lostPlace is the answer to a write that was under way when the leader lost its place. What makes
// or removes an object is refused in oned's ordinary sentence, without a reason. Of everything else
// oned reports success, for it does not look whether its database took it.
func lostPlace(method string, parameters []xmlrpc.Value) answer {
	object, verb, _ := strings.Cut(strings.TrimPrefix(method, "one."), ".")
	words, known := objectWords[object]
	switch verb {
	case "instantiate":
		return answer{refusal: refuse(opennebula.CodeAllocate, "Error allocating a new "+words+".")}
	case "allocate", "clone", "reserve", "login":
		return answer{refusal: refuse(opennebula.CodeInternal, "")}
	case "delete":
		if known {
			return answer{refusal: refuse(opennebula.CodeAction, "Cannot delete "+words+". ")}
		}
	}
	at := 1
	if method == "one.vm.action" {
		at = 2
	}
	if at >= len(parameters) {
		return answer{value: -1}
	}
	return answer{value: parameters[at].Number}
}

// objectWords are oned's words for objects in refusals.
var objectWords = map[string]string{
	"document": documents.words, "template": templates.words, "vntemplate": vnTemplates.words, "vn": networks.words,
	"vrouter": vrouters.words, "user": "user",
}

// route finds the server that carries out a write that came to another one: a follower passes it on
// to the leader, in a connection of its own, which leave gives back.
func (s *server) route(ctx context.Context, session string) (leader *server, leave func(), refused *refusal) {
	leave = func() {}
	raft := s.zone.raft.now()
	leader = s.zone.servers[raft.last]
	switch raft.phase {
	case phaseUnnoticed:
		host, port, _ := net.SplitHostPort(leader.rpcAddress)
		return nil, leave, refuse(opennebula.CodeInternal, forwarding+fmt.Sprintf(
			"Failed to connect to %s port %s after 0 ms: Couldn't connect to server", host, port))
	case phaseElection:
		return nil, leave, inElection
	case phaseUndecided:
		return nil, leave, noLeaderFound
	}
	if leader != s {
		// oned's XMLRPC_TIMEOUT_MS is to its ELECTION_TIMEOUT_MS as this is to half of the time of an election.
		timeout := max(s.zone.config.ElectionTime*2/5, minForwardTimeout)
		enter, err := leader.gate.Enter(ctx, timeout)
		if err != nil {
			return nil, leave, refuse(opennebula.CodeInternal, forwarding+fmt.Sprintf(
				"Operation timed out after %d milliseconds with 0 bytes received", timeout.Milliseconds()))
		}
		leave = enter
		leader.admit(session)
		raft = s.zone.raft.now()
	}
	if raft.phase == phaseLed && time.Now().Before(raft.reconciled) {
		leave()
		return nil, func() {}, replicating
	}
	return leader, leave, nil
}

// minForwardTimeout bounds how long a follower waits for a connection of the leader's at least.
const minForwardTimeout = 200 * time.Millisecond
