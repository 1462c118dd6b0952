package sim

import (
	"context"

	"github.com/flowjet/flowjet/opennebula"
)

var notAuthenticated = refuse(opennebula.CodeAuthentication, "User couldn't be authenticated, aborting call.")

// view hands the function what this server reads.
func (s *server) view(what func(c *cloud)) { s.zone.db.view(s.index, what) }

func (s *server) leads() bool { return s.zone.raft.leads(s.index) }

// carryOut runs a call at this server, and returns the user that it acted for.
func (s *server) carryOut(name string, m method, parameters []value) (a answer, who string) {
	run := func(t *tx, c *cloud) {
		r := &request{server: s, cloud: c, tx: t, parameters: parameters}
		a = s.run(r, name, m)
		who = r.userName()
		if t != nil && who != "" && (!m.writes || s.leads()) {
			t.afterCall = false
			t.emit(apiEvent(name, parameters, m.secrets, a, r.extra))
		}
	}
	if m.silent {
		s.view(func(c *cloud) { run(nil, c) })
		return a, who
	}
	wait := s.zone.db.update(func(t *tx) {
		if m.writes {
			run(t, t.cloud)
			return
		}
		s.zone.db.viewLocked(s.index, func(c *cloud) { run(t, c) })
	})
	if err := wait(); err != nil {
		return refusedAnswer(refuse(opennebula.CodeInternal, "The state file cannot be written: "+err.Error())), who
	}
	return a, who
}

func (s *server) run(r *request, name string, m method) answer {
	who, known := s.admitted(r.cloud, r.parameters[0].text)
	if !known {
		return refusedAnswer(notAuthenticated)
	}
	r.who = who
	if m.writes && !s.leads() {
		return lostPlace(name, r.parameters)
	}
	return m.run(r)
}

// outcome is what becomes of a call: an answer, a fault below oned's methods,
// or a connection that is closed without one.
type outcome struct {
	body    *xmlWriter
	dropped bool
}

// call takes a decoded call through delays and faults to its answer.
func (s *server) call(ctx context.Context, name string, parameters []value) outcome {
	m, known := methods[name]
	if !known {
		return outcome{body: encodeFault(faultNoMethod, "Method '"+name+"' not defined")}
	}
	if len(parameters) == 0 || !m.fits(parameters) {
		return outcome{body: encodeFault(faultTypeMissing, "Parameters of "+name+" are not a session and "+typeWords(m.takes))}
	}
	entry := s.zone.calls.begin(name, parameters, m.secrets)
	s.admit(parameters[0].text)
	done, err := s.process(ctx, name, m, parameters)
	if err != nil {
		return outcome{dropped: true}
	}
	s.zone.calls.finish(entry, done.who, done.answer)
	return outcome{body: encodeAnswer(name, done.answer), dropped: done.dropped}
}

// processed is a call that has come to its end.
type processed struct {
	answer  answer
	who     string
	dropped bool
}

// process takes a call to the server that carries it out, and through the
// delays and the planned faults.
func (s *server) process(ctx context.Context, name string, m method, parameters []value) (processed, error) {
	at := s
	if m.writes {
		who := s.whoIs(parameters[0].text)
		if who == "" {
			return processed{answer: refusedAnswer(notAuthenticated)}, nil
		}
		leader, leave, refused := s.route(ctx, parameters[0].text)
		defer leave()
		if refused != nil {
			return processed{answer: refusedAnswer(refused), who: who}, nil
		}
		at = leader
	}
	round := s.zone.raft.current()
	leave, err := s.zone.delays.pass(ctx, name, m.writes)
	if err != nil {
		return processed{}, err
	}
	defer leave()
	planned := s.zone.callFaults.next(name)
	if planned.refusal != nil {
		return processed{answer: refusedAnswer(planned.refusal), dropped: planned.drop}, nil
	}
	done := processed{dropped: planned.drop}
	done.answer, done.who = at.carryOut(name, m, parameters)
	if m.writes && s.zone.raft.current() != round {
		done.answer = lostPlace(name, parameters)
	}
	return done, nil
}

// whoIs is the name of the user that a server lets in, "" for nobody.
func (s *server) whoIs(session string) (name string) {
	s.view(func(c *cloud) {
		if who, known := s.admitted(c, session); known {
			name = who.user.Name
		}
	})
	return name
}
