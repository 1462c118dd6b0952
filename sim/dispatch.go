package sim

import (
	"context"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// method is one call of oned.
type method struct {
	// takes are the types of the parameters behind the session, s i or b each;
	// those behind a | may be missing.
	takes string
	// secrets are positions (the session is 0) that events do not show.
	secrets []int
	// writes: followers pass it on, and it is serialised where that was asked for.
	writes bool
	// silent: a read, which publishes nothing.
	silent bool
	run    func(r *request) answer
}

func reads(takes string, run func(r *request) answer) method {
	return method{takes: takes, silent: true, run: run}
}

func writes(takes string, run func(r *request) answer, secrets ...int) method {
	return method{takes: takes, writes: true, run: run, secrets: secrets}
}

// methods are the calls that are simulated. What is published as the password
// of one.user.allocate is what oned 7.4 publishes: in the clear.
var methods = map[string]method{
	"one.system.version":      reads("", func(*request) answer { return textAnswer(Version) }),
	"one.zone.info":           reads("i|b", zoneInfo),
	"one.zone.raftstatus":     reads("", zoneRaftStatus),
	"one.hostpool.info":       reads("", hostPoolInfo),
	"one.document.info":       reads("i|b", documents.info),
	"one.documentpool.info":   reads("iiii", documentPoolInfo),
	"one.user.info":           reads("i|b", userInfo),
	"one.userpool.info":       reads("", userPoolInfo),
	"one.template.info":       reads("i|bb", templates.info),
	"one.templatepool.info":   reads("iii", templates.list),
	"one.vm.info":             reads("i|b", vms.info),
	"one.vmpool.info":         reads("iiii|s", vmPoolInfo),
	"one.vmpool.infoextended": reads("iiii|s", vmPoolInfoExtended),
	"one.vmpool.monitoring":   {takes: "i|i", run: vmPoolMonitoring},
	"one.vn.info":             reads("i|b", networks.info),
	"one.vnpool.info":         reads("iii", networks.list),
	"one.vntemplate.info":     reads("i|b", vnTemplates.info),
	"one.vrouter.info":        reads("i|b", vrouters.info),
	"one.vrouterpool.info":    reads("iii", vrouters.list),

	"one.document.allocate": writes("si", documentAllocate),
	"one.document.update":   writes("isi", documents.change(manage, documentUpdate)),
	"one.document.delete":   writes("i", documents.delete),
	"one.document.chown":    writes("iii", documents.chown),
	"one.document.chmod":    writes("iiiiiiiiii", documents.chmod),
	"one.document.rename":   writes("is", documents.rename),
	"one.document.clone":    writes("is", documentClone),
	"one.document.lock":     writes("i|ib", documents.change(use, documentLockCall)),
	"one.document.unlock":   writes("i", documents.change(use, documentUnlock)),

	"one.user.allocate":  writes("ss|s", userAllocate),
	"one.user.delete":    writes("i", userDelete),
	"one.user.passwd":    writes("is", userPassword, 2),
	"one.user.update":    writes("isi", userUpdate),
	"one.user.login":     writes("ssi|i", userLogin, 2),
	"one.user.chgrp":     writes("ii", groupChange(changeGroup)),
	"one.user.addgroup":  writes("ii", groupChange(addGroup)),
	"one.user.delgroup":  writes("ii", groupChange(deleteGroup)),
	"one.group.allocate": writes("s", groupAllocate),

	"one.template.allocate":    writes("s", templateAllocate),
	"one.template.instantiate": writes("i|sbsb", templateInstantiate),
	"one.template.clone":       writes("is|b", templateClone),
	"one.template.delete":      writes("i|b", templates.delete),
	"one.template.update":      writes("isi", templates.change(manage, templateUpdate)),
	"one.template.chmod":       writes("iiiiiiiiii|b", templates.chmod),

	"one.vm.action":      writes("si", vmAction),
	"one.vm.recover":     writes("ii", vms.change(admin, vmRecover)),
	"one.vm.update":      writes("isi", vms.change(manage, vmUpdate)),
	"one.vm.chown":       writes("iii", vms.chown),
	"one.vm.chmod":       writes("iiiiiiiiii", vms.chmod),
	"one.vm.rename":      writes("is", vms.rename),
	"one.vm.deploy":      writes("ii|bis", vms.change(admin, vmDeploy)),
	"one.vm.schedadd":    writes("is", vmScheduleAdd),
	"one.vm.scheddelete": writes("ii", vms.change(manage, vmScheduleDelete)),

	"one.vn.reserve":             writes("is", networkReserve),
	"one.vn.delete":              writes("i", networks.change(manage, networkDelete)),
	"one.vn.chmod":               writes("iiiiiiiiii", networks.chmod),
	"one.vntemplate.allocate":    writes("s", vnTemplateAllocate),
	"one.vntemplate.instantiate": writes("i|ss", vnTemplateInstantiate),

	"one.vrouter.allocate":    writes("s", vrouterAllocate),
	"one.vrouter.instantiate": writes("iiis|bs", vrouterInstantiate),
	"one.vrouter.chown":       writes("iii", vrouters.change(manage, vrouterChown)),
	"one.vrouter.delete":      writes("i", vrouterDelete),
}

// fits reports whether the parameters behind the session are what a method takes.
func (m method) fits(parameters []value) bool {
	needed, optional, _ := strings.Cut(m.takes, "|")
	given := len(parameters) - 1
	if given < len(needed) || parameters[0].kind != kindString {
		return false
	}
	types := needed + optional
	for i := 0; i < given && i < len(types); i++ {
		if typeLetters[parameters[i+1].kind] != types[i] {
			return false
		}
	}
	return true
}

var typeLetters = map[valueKind]byte{kindString: 's', kindInt: 'i', kindBool: 'b'}

// request is a call that is being carried out, under the lock.
type request struct {
	sim *Sim
	// server is the one that was called.
	server     int
	cloud      *cloud
	tx         *tx
	who        identity
	parameters []value
	// extra is the object that the call made or removed, for its event.
	extra string
}

func (r *request) has(i int) bool { return i < len(r.parameters) }

func (r *request) int(i int) int { return r.intOr(i, 0) }

func (r *request) intOr(i, fallback int) int {
	if r.has(i) {
		return r.parameters[i].number
	}
	return fallback
}

func (r *request) text(i int) string {
	if r.has(i) {
		return r.parameters[i].text
	}
	return ""
}

func (r *request) flag(i int) bool { return r.flagOr(i, false) }

func (r *request) flagOr(i int, fallback bool) bool {
	if r.has(i) {
		return r.parameters[i].number == 1
	}
	return fallback
}

// bits are chmod's nine numbers, behind the session and the id.
func (r *request) bits() (bits [9]int) {
	for n := range bits {
		bits[n] = r.intOr(n+2, -1)
	}
	return bits
}

// page is the start and end of a pool call, at position i and behind.
func (r *request) page(i int) page { return page{r.intOr(i, -1), r.intOr(i+1, -1)} }

// Version is the version of OpenNebula that is simulated.
const Version = "7.4.0"

var notAuthenticated = refuse(opennebula.CodeAuthentication, "User couldn't be authenticated, aborting call.")

// view hands the function what a server reads: the leader the cloud, another
// one its own database, which is behind.
func (s *Sim) view(server int, what func(c *cloud)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.viewLocked(server, what)
}

func (s *Sim) viewLocked(server int, what func(c *cloud)) {
	if len(s.servers) == 1 || s.raft.leads(server) {
		what(s.cloud)
		return
	}
	s.replication.read(server, what)
}

// carryOut runs a call at a server and says which user it acted for.
func (s *Sim) carryOut(server int, name string, m method, parameters []value) (a answer, who string) {
	run := func(t *tx, c *cloud) {
		r := &request{sim: s, server: server, cloud: c, tx: t, parameters: parameters}
		a = s.run(r, name, m)
		who = r.userName()
		if t != nil && who != "" && (!m.writes || s.raft.leads(server)) {
			t.afterCall = false
			t.emit(apiEvent(name, parameters, m.secrets, a, r.extra))
		}
	}
	if m.silent {
		s.view(server, func(c *cloud) { run(nil, c) })
		return a, who
	}
	wait := s.update(func(t *tx) {
		if m.writes {
			run(t, t.cloud)
			return
		}
		s.viewLocked(server, func(c *cloud) { run(t, c) })
	})
	if err := wait(); err != nil {
		return refusedAnswer(refuse(opennebula.CodeInternal, "The state file cannot be written: "+err.Error())), who
	}
	return a, who
}

func (s *Sim) run(r *request, name string, m method) answer {
	who, known := s.admitted(r.server, r.cloud, r.parameters[0].text)
	if !known {
		return refusedAnswer(notAuthenticated)
	}
	r.who = who
	if m.writes && !s.raft.leads(r.server) {
		return lostPlace(name, r.parameters)
	}
	return m.run(r)
}

func (r *request) userName() string {
	if r.who.user == nil {
		return ""
	}
	return r.who.user.Name
}

// outcome is what becomes of a call: an answer, a fault below oned's methods,
// or a connection that is closed without one.
type outcome struct {
	body    *xmlWriter
	dropped bool
}

// call takes a decoded call through delays and faults to its answer.
func (s *Sim) call(ctx context.Context, server int, name string, parameters []value) outcome {
	m, known := methods[name]
	if !known {
		return outcome{body: encodeFault(faultNoMethod, "Method '"+name+"' not defined")}
	}
	if len(parameters) == 0 || !m.fits(parameters) {
		return outcome{body: encodeFault(faultTypeMissing, "Parameters of "+name+" are not a session and "+typeWords(m.takes))}
	}
	entry := s.calls.begin(name, parameters, m.secrets)
	s.admit(server, parameters[0].text)
	done, err := s.process(ctx, server, name, m, parameters)
	if err != nil {
		return outcome{dropped: true}
	}
	s.calls.finish(entry, done.who, done.answer)
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
func (s *Sim) process(ctx context.Context, server int, name string, m method, parameters []value) (processed, error) {
	if m.writes {
		who := s.whoIs(server, parameters[0].text)
		if who == "" {
			return processed{answer: refusedAnswer(notAuthenticated)}, nil
		}
		leader, leave, refused := s.route(ctx, server, parameters[0].text)
		defer leave()
		if refused != nil {
			return processed{answer: refusedAnswer(refused), who: who}, nil
		}
		server = leader
	}
	round := s.raft.current()
	leave, err := s.delays.pass(ctx, name, m.writes)
	if err != nil {
		return processed{}, err
	}
	defer leave()
	planned := s.callFaults.next(name)
	if planned.refusal != nil {
		return processed{answer: refusedAnswer(planned.refusal), dropped: planned.drop}, nil
	}
	done := processed{dropped: planned.drop}
	done.answer, done.who = s.carryOut(server, name, m, parameters)
	if m.writes && s.raft.current() != round {
		done.answer = lostPlace(name, parameters)
	}
	return done, nil
}

// whoIs is the name of the user that a server lets in, "" for nobody.
func (s *Sim) whoIs(server int, session string) (name string) {
	s.view(server, func(c *cloud) {
		if who, known := s.admitted(server, c, session); known {
			name = who.user.Name
		}
	})
	return name
}

// typeWords explains a signature such as "is|b".
func typeWords(takes string) string {
	if takes == "" {
		return "nothing else"
	}
	words := strings.NewReplacer("s", "string ", "i", "int ", "b", "boolean ", "|", "and perhaps ").Replace(takes)
	return strings.TrimSpace(words)
}
