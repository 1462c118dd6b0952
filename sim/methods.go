package sim

import "strings"

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
	"one.grouppool.info":      reads("", groupPoolInfo),
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

// typeWords explains a signature such as "is|b".
func typeWords(takes string) string {
	if takes == "" {
		return "nothing else"
	}
	words := strings.NewReplacer("s", "string ", "i", "int ", "b", "boolean ", "|", "and perhaps ").Replace(takes)
	return strings.TrimSpace(words)
}

// Version is the version of OpenNebula that is simulated.
const Version = "7.4.0"
