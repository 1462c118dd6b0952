package sim

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/statefile"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// view calls the function with the cloud as this server reads it.
func (s *server) view(what func(c *cloud)) {
	s.zone.db.mu.RLock()
	defer s.zone.db.mu.RUnlock()
	s.zone.db.view(s.index, what)
}

// answer takes a call through delays and faults to its answer, or to a fault below oned's methods; nil closes the
// connection without an answer.
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
	r := &request{name: name, method: m, parameters: parameters}
	entry := s.zone.calls.begin(name, parameters, m.secrets)
	s.admit(parameters[0].Text)
	if s.process(ctx, r) != nil {
		return nil
	}
	s.zone.calls.finish(entry, r.caller, r.answer)
	encoded := r.answer.encode(name)
	if r.dropped {
		encoded.Release()
		return nil
	}
	return encoded
}

// process passes a call through the delays and the planned faults to the server that carries it out.
func (s *server) process(ctx context.Context, r *request) error {
	at := s
	if r.method.writes {
		s.view(func(c *cloud) { s.identify(r, c) })
		if r.answer.refusal != nil {
			return nil
		}
		var leave func()
		at, leave, r.answer.refusal = s.route(ctx, r.parameters[0].Text)
		defer leave()
		if r.answer.refusal != nil {
			return nil
		}
	}
	round := s.zone.raft.now().round
	leave, err := s.zone.delays.pass(ctx, r.name, r.method.writes)
	if err != nil {
		return err
	}
	defer leave()
	planned := s.zone.callFaults.next(r.name)
	r.dropped = planned.drop
	if planned.refusal != nil {
		r.caller, r.answer.refusal = "", planned.refusal
		return nil
	}
	at.carryOut(r)
	if r.method.writes && s.zone.raft.now().round != round {
		r.answer = r.lostLeadership()
	}
	return nil
}

// identify authenticates the user of a call, or refuses it.
func (s *server) identify(r *request, c *cloud) {
	claimed := c.claim(r.parameters[0].Text) // which admit has handled
	r.who = claimed.who
	if claimed.valid || claimed.byDriver && s.sessions.has(claimed) {
		r.caller = r.who.user.Name
	} else {
		r.caller, r.answer.refusal = "", newRefusal(opennebula.CodeAuthentication, "User couldn't be authenticated, aborting call.")
	}
}

func (s *server) carryOut(r *request) {
	run := func(t *tx, c *cloud) {
		r.server, r.cloud, r.tx = s, c, t
		if s.identify(r, c); r.answer.refusal != nil {
			return
		}
		if r.method.writes && s.zone.raft.now().leader() != s.index {
			r.answer = r.lostLeadership()
			return
		}
		r.answer.refusal = attempt(func() { r.answer.value = r.method.run(r) })
		if t != nil {
			t.afterCall = false
			t.emit(apiEvent(r.name, r.parameters, r.method.secrets, r.answer, r.extra))
		}
	}
	if r.method.silent {
		s.view(func(c *cloud) { run(nil, c) })
		return
	}
	wait := s.zone.db.update(func(t *tx) {
		if r.method.writes {
			run(t, t.cloud)
			return
		}
		s.zone.db.view(s.index, func(c *cloud) { run(t, c) })
	})
	if err := wait(); err != nil {
		r.answer = answer{refusal: newRefusal(opennebula.CodeInternal, "The state file cannot be written: "+err.Error())}
	}
}

// forwarding begins oned's text about a write that a follower could not forward.
const forwarding = "libcurl failed to execute the HTTP POST transaction, explaining:  "

// lostLeadership returns the answer to a write during which the leader lost its leadership. Calls that make or remove an
// object are refused with oned's ordinary sentence, without a reason. For all others oned reports success, because it does
// not check whether its database accepted the write.
func (r *request) lostLeadership() answer {
	object, verb, _ := strings.Cut(strings.TrimPrefix(r.name, "one."), ".")
	words, known := objectWords[object]
	switch verb {
	case "instantiate":
		return answer{refusal: newRefusal(opennebula.CodeAllocate, "Error allocating a new "+words+".")}
	case "allocate", "clone", "reserve", "login":
		return answer{refusal: newRefusal(opennebula.CodeInternal, "")}
	case "delete":
		if known {
			return answer{refusal: newRefusal(opennebula.CodeAction, "Cannot delete "+words+". ")}
		}
	}
	at := 1
	if r.name == "one.vm.action" {
		at = 2
	}
	return answer{value: r.intOr(at, -1)}
}

// objectWords are oned's words for objects in refusals.
var objectWords = map[string]string{
	"document": documents.words, "template": templates.words, "vntemplate": vnTemplates.words, "vn": networks.words,
	"vrouter": vrouters.words, "user": "user",
}

// route finds the server that carries out a write: a follower forwards it to the leader, in a connection of its own, which
// leave releases.
func (s *server) route(ctx context.Context, session string) (leader *server, leave func(), refused *refusal) {
	leave = func() {}
	raft := s.zone.raft.now()
	leader = s.zone.servers[raft.last]
	switch raft.phase {
	case phaseUnnoticed:
		host, port, _ := net.SplitHostPort(leader.rpcAddress)
		return nil, leave, newRefusal(opennebula.CodeInternal, forwarding+fmt.Sprintf(
			"Failed to connect to %s port %s after 0 ms: Couldn't connect to server", host, port))
	case phaseElection:
		return nil, leave, newRefusal(opennebula.CodeInternal, "Cannot process request, oned cluster in election mode")
	case phaseUndecided:
		return nil, leave, newRefusal(opennebula.CodeInternal, "Cannot process request, no leader found")
	}
	if leader != s {
		// oned's XMLRPC_TIMEOUT_MS is to its ELECTION_TIMEOUT_MS as this is to half of the time of an election.
		timeout := max(s.zone.config.ElectionTime*2/5, minForwardTimeout)
		enter, err := leader.gate.Enter(ctx, timeout)
		if err != nil {
			return nil, leave, newRefusal(opennebula.CodeInternal, forwarding+fmt.Sprintf(
				"Operation timed out after %d milliseconds with 0 bytes received", timeout.Milliseconds()))
		}
		leave = enter
		leader.admit(session)
		raft = s.zone.raft.now()
	}
	if raft.phase == phaseLed && time.Now().Before(raft.reconciled) {
		leave()
		return nil, func() {}, newRefusal(opennebula.CodeInternal, "Cannot process request, oned cluster is replicating log")
	}
	return leader, leave, nil
}

// minForwardTimeout bounds from below how long a follower waits for a connection of the leader's.
const minForwardTimeout = 200 * time.Millisecond

// method is one call of oned.
type method struct {
	takes   string // the types of the parameters behind the session, s i or b each; those behind a | may be missing
	secrets []int  // positions (the session is 0) that are hidden in events
	writes  bool   // followers forward it, and it is serialised if configured
	silent  bool   // a read, which publishes nothing
	// run returns the answer's value. If oned refuses the call it panics with a *refusal, at any depth; attempt recovers
	// that.
	run func(r *request) any
}

func reads(takes string, run func(r *request) any) method {
	return method{takes: takes, silent: true, run: run}
}

func writes(takes string, run func(r *request) any, secrets ...int) method {
	return method{takes: takes, writes: true, run: run, secrets: secrets}
}

// methods are the simulated calls. As oned 7.4 does, the password of one.user.allocate is published in the clear.
var methods = map[string]method{
	"one.system.version":      reads("", func(*request) any { return Version }),
	"one.system.config":       reads("", systemConfig),
	"one.zone.info":           reads("i|b", zoneInfo),
	"one.zone.raftstatus":     reads("", zoneRaftStatus),
	"one.document.info":       reads("i|b", documents.info()),
	"one.documentpool.info":   reads("iiii", documentPoolInfo),
	"one.user.info":           reads("i|b", userInfo),
	"one.userpool.info":       reads("", userPoolInfo),
	"one.grouppool.info":      reads("", groupPoolInfo),
	"one.template.info":       reads("i|bb", templates.info()),
	"one.templatepool.info":   reads("iii", templates.list),
	"one.vm.info":             reads("i|b", vms.info()),
	"one.vmpool.infoextended": reads("iiii|s", vmPool),
	"one.vmpool.monitoring":   {takes: "i|i", run: vmPoolMonitoring},
	"one.vn.info":             reads("i|b", networks.info()),
	"one.vnpool.info":         reads("iii", networks.list),
	"one.vrouter.info":        reads("i|b", vrouters.info()),
	"one.vrouterpool.info":    reads("iii", vrouters.list),

	"one.document.allocate": writes("si", documentAllocate),
	"one.document.update":   writes("isi", documents.change(manage, documentUpdate)),
	"one.document.delete":   writes("i", documents.delete()),
	"one.document.chown":    writes("iii", documents.chown()),
	"one.document.chmod":    writes("iiiiiiiiii", documents.chmod()),
	"one.document.rename":   writes("is", documents.rename()),
	"one.document.clone":    writes("is", documents.on(use, documentClone)),
	"one.document.lock":     writes("i|ib", documents.change(use, documentLockCall)),
	"one.document.unlock":   writes("i", documents.change(use, documentUnlock)),

	"one.user.allocate":  writes("ss|s", userAllocate),
	"one.user.passwd":    writes("is", userPassword, 2),
	"one.user.login":     writes("ssi|i", userLogin, 2),
	"one.user.chgrp":     writes("ii", groupChange(changeGroup)),
	"one.user.addgroup":  writes("ii", groupChange(addGroup)),
	"one.user.delgroup":  writes("ii", groupChange(removeGroup)),
	"one.user.enable":    writes("ib", userEnable),
	"one.user.delete":    writes("i", userDelete),
	"one.group.allocate": writes("s", groupAllocate),

	"one.template.allocate":    writes("s", allocateTemplate(&templates, "template-")),
	"one.template.instantiate": writes("i|sbsb", templates.on(use, templateInstantiate)),
	"one.template.clone":       writes("is|b", templates.on(use, templateClone)),
	"one.template.delete":      writes("i|b", templates.delete()),
	"one.template.update":      writes("isi", templates.change(manage, func(r *request, t *storedTemplate) { r.update(&t.Template) })),
	"one.template.chmod":       writes("iiiiiiiiii|b", templates.chmod()),
	"one.template.chown":       writes("iii", templates.chown()),

	"one.vm.action":      writes("si", vmAction),
	"one.vm.recover":     writes("ii", vms.change(admin, func(r *request, v *vm) { r.tx.recoverVM(v, r.int(2)) })),
	"one.vm.update":      writes("isi", vms.change(manage, vmUpdate)),
	"one.vm.chown":       writes("iii", vms.chown()),
	"one.vm.rename":      writes("is", vms.rename()),
	"one.vm.deploy":      writes("ii|bis", vms.change(admin, vmDeploy)),
	"one.vm.schedadd":    writes("is", vms.on(manage, vmScheduleAdd)),
	"one.vm.scheddelete": writes("ii", vms.change(manage, vmScheduleDelete)),

	"one.vn.reserve":             writes("is", networks.on(use, networkReserve)),
	"one.vn.delete":              writes("i", networks.change(manage, networkDelete)),
	"one.vn.chmod":               writes("iiiiiiiiii", networks.chmod()),
	"one.vn.chown":               writes("iii", networks.chown()),
	"one.vntemplate.allocate":    writes("s", allocateTemplate(&vnTemplates, "vntemplate-")),
	"one.vntemplate.instantiate": writes("i|ss", vnTemplates.on(use, vnTemplateInstantiate)),

	"one.vrouter.allocate":    writes("s", vrouterAllocate),
	"one.vrouter.instantiate": writes("iiis|bs", vrouters.on(manage, vrouterInstantiate)),
	"one.vrouter.chown":       writes("iii", vrouters.change(manage, vrouterChown)),
	"one.vrouter.delete":      writes("i", vrouters.on(manage, vrouterDelete)),
}

// fits reports whether the parameters are a session and the method's parameters.
func (m method) fits(parameters []xmlrpc.Value) bool {
	needed, optional, _ := strings.Cut(m.takes, "|")
	given := len(parameters) - 1
	if given < 0 || given < len(needed) || parameters[0].Kind != xmlrpc.String {
		return false
	}
	types := needed + optional
	for i := 0; i < given && i < len(types); i++ {
		if byte(parameters[i+1].Kind) != types[i] {
			return false
		}
	}
	return true
}

// Version is the simulated version of OpenNebula.
const Version = "7.4.0"

// request is a call: its parameters, its outcome, and, while it is carried out under the lock, its user and the objects.
type request struct {
	name       string
	method     method
	parameters []xmlrpc.Value
	answer     answer
	caller     string // the user's name, "" if nobody was authenticated
	dropped    bool   // it is answered by closing the connection
	extra      string // the object that the call made or removed, for its event

	server *server
	cloud  *cloud
	tx     *tx
	who    identity
}

// lost reports whether the server lacks an object that the zone has.
func (r *request) lost(kind string, id int) bool {
	return r.server != nil && r.server.zone.db.lost[r.server.index][statefile.Key{Kind: kind, ID: id}]
}

func (r *request) int(i int) int { return r.intOr(i, 0) }

func (r *request) intOr(i, fallback int) int {
	if i < len(r.parameters) {
		return r.parameters[i].Number
	}
	return fallback
}

func (r *request) text(i int) string {
	if i < len(r.parameters) {
		return r.parameters[i].Text
	}
	return ""
}

// template returns the template in a parameter.
func (r *request) template(i int) template.Template { return r.parsed(i, opennebula.CodeInternal, "") }

// parsed returns the template in a parameter; one that cannot be read is refused with the code, and the text behind prefix.
func (r *request) parsed(i int, code opennebula.Code, prefix string) template.Template {
	parsed, err := template.Parse(r.text(i))
	if err != nil {
		refuse(code, prefix+err.Error())
	}
	return parsed
}

// answer is the result of a call: a value, or oned's refusal.
type answer struct {
	value   any // a text or a number
	refusal *refusal
}

// refusal is oned's failure: a code, a text that begins with the method in brackets, and the object it is about (-1 if oned
// names none).
type refusal struct {
	code    opennebula.Code
	message string
	object  int
}

func newRefusal(code opennebula.Code, message string) *refusal { return &refusal{code, message, -1} }

// refuse ends the current call with a refusal about no particular object.
func refuse(code opennebula.Code, message string) { panic(newRefusal(code, message)) }

func refuseIf(condition bool, code opennebula.Code, message string) {
	if condition {
		refuse(code, message)
	}
}

// refuseFor refuses the current call for a reason, if there is one.
func refuseFor(code opennebula.Code, reason string) { refuseIf(reason != "", code, reason) }

// notFound refuses in oned's text about a missing object, such as "document".
func notFound(what string, id int) {
	panic(&refusal{opennebula.CodeNoExists, fmt.Sprintf("Error getting %s [%d].", what, id), id})
}

// attempt calls a function and returns the refusal that ended it, nil if none did.
func attempt(do func()) (refused *refusal) {
	defer func() {
		if cause := recover(); cause != nil {
			var expected bool
			if refused, expected = cause.(*refusal); !expected {
				panic(cause)
			}
		}
	}()
	do()
	return nil
}

// encode writes an answer byte for byte as oned does.
func (a answer) encode(method string) *xmlrpc.Writer {
	if r := a.refusal; r != nil {
		return xmlrpc.NewAnswer(false, "["+method+"] "+r.message, int(r.code), r.object, int64(-1))
	}
	return xmlrpc.NewAnswer(true, a.value, 0)
}

// cdata is a text of an object's XML in CDATA.
type cdata = xmlrpc.CDATA

func itoa(n int) string { return strconv.Itoa(n) }
