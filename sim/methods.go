package sim

import (
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
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
	"one.system.version":      reads("", func(*request) answer { return answer{value: Version} }),
	"one.zone.info":           reads("i|b", zoneInfo),
	"one.zone.raftstatus":     reads("", zoneRaftStatus),
	"one.hostpool.info":       reads("", hostPoolInfo),
	"one.document.info":       reads("i|b", documents.info()),
	"one.documentpool.info":   reads("iiii", documentPoolInfo),
	"one.user.info":           reads("i|b", userInfo),
	"one.userpool.info":       reads("", userPoolInfo),
	"one.grouppool.info":      reads("", groupPoolInfo),
	"one.template.info":       reads("i|bb", templates.info()),
	"one.templatepool.info":   reads("iii", templates.list),
	"one.vm.info":             reads("i|b", vms.info()),
	"one.vmpool.info":         reads("iiii|s", vmPool((*vm).writeShort)),
	"one.vmpool.infoextended": reads("iiii|s", vmPool((*vm).writeLong)),
	"one.vmpool.monitoring":   {takes: "i|i", run: vmPoolMonitoring},
	"one.vn.info":             reads("i|b", networks.info()),
	"one.vnpool.info":         reads("iii", networks.list),
	"one.vntemplate.info":     reads("i|b", vnTemplates.info()),
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
	"one.user.delete":    writes("i", userDelete),
	"one.user.passwd":    writes("is", userPassword, 2),
	"one.user.update":    writes("isi", userUpdate),
	"one.user.login":     writes("ssi|i", userLogin, 2),
	"one.user.chgrp":     writes("ii", groupChange(changeGroup)),
	"one.user.addgroup":  writes("ii", groupChange(addGroup)),
	"one.user.delgroup":  writes("ii", groupChange(deleteGroup)),
	"one.group.allocate": writes("s", groupAllocate),

	"one.template.allocate":    writes("s", allocateTemplate(&templates, "template-")),
	"one.template.instantiate": writes("i|sbsb", templates.on(use, templateInstantiate)),
	"one.template.clone":       writes("is|b", templates.on(use, templateClone)),
	"one.template.delete":      writes("i|b", templates.delete()),
	"one.template.update":      writes("isi", templates.change(manage, templateUpdate)),
	"one.template.chmod":       writes("iiiiiiiiii|b", templates.chmod()),

	"one.vm.action":      writes("si", vmAction),
	"one.vm.recover":     writes("ii", vms.change(admin, vmRecover)),
	"one.vm.update":      writes("isi", vms.change(manage, vmUpdate)),
	"one.vm.chown":       writes("iii", vms.chown()),
	"one.vm.chmod":       writes("iiiiiiiiii", vms.chmod()),
	"one.vm.rename":      writes("is", vms.rename()),
	"one.vm.deploy":      writes("ii|bis", vms.change(admin, vmDeploy)),
	"one.vm.schedadd":    writes("is", vms.on(manage, vmScheduleAdd)),
	"one.vm.scheddelete": writes("ii", vms.change(manage, vmScheduleDelete)),

	"one.vn.reserve":             writes("is", networks.on(use, networkReserve)),
	"one.vn.delete":              writes("i", networks.change(manage, networkDelete)),
	"one.vn.chmod":               writes("iiiiiiiiii", networks.chmod()),
	"one.vntemplate.allocate":    writes("s", allocateTemplate(&vnTemplates, "vntemplate-")),
	"one.vntemplate.instantiate": writes("i|ss", vnTemplates.on(use, vnTemplateInstantiate)),

	"one.vrouter.allocate":    writes("s", vrouterAllocate),
	"one.vrouter.instantiate": writes("iiis|bs", vrouters.on(manage, vrouterInstantiate)),
	"one.vrouter.chown":       writes("iii", vrouters.change(manage, vrouterChown)),
	"one.vrouter.delete":      writes("i", vrouters.on(manage, vrouterDelete)),
}

// fits reports whether the parameters are a session and what a method takes.
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

// Version is the version of OpenNebula that is simulated.
const Version = "7.4.0"

// request is a call that is being carried out, under the lock.
type request struct {
	server     *server
	cloud      *cloud
	tx         *tx
	who        identity
	parameters []xmlrpc.Value
	// extra is the object that the call made or removed, for its event.
	extra string
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

// page is the start and end of a pool call, at position i and behind.
func (r *request) page(i int) page { return page{r.intOr(i, -1), r.intOr(i+1, -1)} }

// answer is what a call gives back: a value, or oned's refusal.
type answer struct {
	// value is a text or a number.
	value any
	// written is a read's answer up to the end of its text, as it will be sent.
	written *xmlrpc.Writer
	refusal *refusal
}

// refusal is oned's failure: a code, a text that begins with the method in
// brackets, and the object it is about (-1 where oned names none).
type refusal struct {
	code    opennebula.Code
	message string
	object  int
}

// refuse is a refusal about no particular object.
func refuse(code opennebula.Code, message string) *refusal {
	return &refusal{code: code, message: message, object: -1}
}

// badTemplate is the refusal of a template that cannot be read.
func badTemplate(err error) *refusal { return refuse(opennebula.CodeInternal, err.Error()) }

// xmlAnswer answers a read with an element, in which stands what the function writes. Calls that are
// published answer with a value, for their events show it as it is.
func xmlAnswer(name string, write func(w *xmlrpc.Writer)) answer {
	w := xmlrpc.NewAnswer(true)
	w.XMLValue(name, write)
	return answer{written: w}
}

// encode writes an answer byte for byte as oned does.
func (a answer) encode(method string) *xmlrpc.Writer {
	w := a.written
	if w == nil {
		w = xmlrpc.NewAnswer(a.refusal == nil)
	}
	if a.refusal != nil {
		w.TextValue("[" + method + "] " + a.refusal.message)
		w.IntValue("i4", int(a.refusal.code))
		w.IntValue("i4", a.refusal.object)
		w.IntValue("i8", -1)
		w.EndAnswer()
		return w
	}
	switch value := a.value.(type) {
	case string:
		w.TextValue(value)
	case int:
		w.IntValue("i4", value)
	}
	w.IntValue("i4", 0)
	w.EndAnswer()
	return w
}

// cdata is a text of an object's XML in CDATA.
type cdata = xmlrpc.CDATA

func itoa(n int) string { return strconv.Itoa(n) }
