package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

// everyDeath has each life meet every death at every call, which takes minutes;
// without it every third call has one of the deaths.
const everyDeath = "EVERY_DEATH"

// sampled is of how many calls one is died at without everyDeath.
const sampled = 3

// TestWorkerDiesAtAnyCall kills the worker of a service at each call that it
// makes to oned while the service lives: before oned sees the call, before its
// answer comes back, and before anything can be stored about it. Another worker
// brings the service to the same end, with each VM, network and virtual router
// made once, and every command is answered.
func TestWorkerDiesAtAnyCall(t *testing.T) {
	for name, life := range map[string]func(*mortalLife){
		"scaled": scaledLife, "with networks": networkedLife, "with a virtual router": routedLife,
		"of roles": changingLife, "mended": mendedLife, "held": heldLife, "healed": healedLife,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.hear()
			if os.Getenv(everyDeath) == "" {
				w.dieThrough(0, sampled, life)
				return
			}
			for first := range deaths {
				w.dieThrough(first, 1, life)
			}
		})
	}
}

// dieThrough lives the life again and again, dying some calls later each time
// and each time in another way, until it lives to its end.
func (w *world) dieThrough(how death, step int64, life func(*mortalLife)) {
	for nth := int64(1); w.liveThrough(moment{nth: nth, how: how}, life); nth += step {
		how = (how + 1) % deaths
	}
}

// liveThrough takes a service through its life with a worker that dies at the
// moment, and another that starts then; it is false when the first made fewer
// calls than that.
func (w *world) liveThrough(at moment, life func(*mortalLife)) bool {
	w.t.Helper()
	first := w.startMortal("mortal "+at.String(), at)
	heir := consumers.New(consumers.Config{ID: "heir " + at.String(), Settings: quick()}, w.pipe.Pipeline, w.oned)
	finished, inherited := make(chan struct{}), make(chan error, 1)
	go func() {
		select {
		case <-first.died:
			inherited <- heir.Start(context.Background())
		case <-finished:
			inherited <- nil
		}
	}()
	life(&mortalLife{world: w, at: at})
	close(finished)
	must(w.t, <-inherited)
	reached := first.dead.Load()
	first.bury(w.t)
	must(w.t, heir.Stop(context.Background()))
	return reached
}

// mortalLife is what happens to one service, whoever drives it.
type mortalLife struct {
	*world
	at      moment
	service int
}

// deploy starts the service of a body.
func (l *mortalLife) deploy(body string, arguments ...any) {
	l.t.Helper()
	l.service = l.world.service(body, arguments...)
	l.accepted(l.service, flow.VerbDeploy, nil)
}

// accepted is the world's, and names the death where it fails.
func (l *mortalLife) accepted(service int, verb flow.Verb, arguments any) {
	l.t.Helper()
	defer func() {
		if l.t.Failed() {
			l.t.Logf("%s of service %d (death %s)", verb, service, l.at)
		}
	}()
	l.world.accepted(service, verb, arguments)
}

// comesTo waits for a state of the service.
func (l *mortalLife) comesTo(state spec.ServiceState) {
	l.t.Helper()
	poll.Until(l.t, fmt.Sprintf("service %d to be %s (death %s)", l.service, state, l.at), func() bool {
		body, exists := l.body(l.service)
		return exists && (spec.Service{Body: body}).State() == state
	})
}

// has waits until the service runs, and holds what it then consists of.
func (l *mortalLife) has(vms, networks, routers int) {
	l.t.Helper()
	l.comesTo(spec.ServiceRunning)
	l.exactly(l.service, vms)
	if made := l.networks(); len(made) != networks {
		l.t.Errorf("there are %d networks, want %d: %+v", len(made), networks, made)
	}
	if made := l.routers(); len(made) != routers {
		l.t.Errorf("there are %d virtual routers, want %d: %+v", len(made), routers, made)
	}
	l.stopAtFailure()
}

// ends undeploys the service and holds that nothing of it stays.
func (l *mortalLife) ends() {
	l.t.Helper()
	l.accepted(l.service, flow.VerbUndeploy, nil)
	poll.Until(l.t, fmt.Sprintf("service %d to be gone (death %s)", l.service, l.at), func() bool {
		_, exists := l.body(l.service)
		return !exists && len(l.vms(l.service)) == 0 && len(l.networks()) == 0 && len(l.routers()) == 0
	})
	l.stopAtFailure()
}

func (l *mortalLife) stopAtFailure() {
	l.t.Helper()
	if l.t.Failed() {
		l.t.Fatalf("death %s", l.at)
	}
}

func scaledLife(l *mortalLife) {
	l.deploy(masterSlave, 1, 1)
	l.has(2, 0, 0)
	l.accepted(l.service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	l.has(4, 0, 0)
	l.accepted(l.service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
	l.has(2, 0, 0)
	l.ends()
}

func networkedLife(l *mortalLife) {
	l.deploy(netsService)
	l.has(1, 2, 0)
	l.ends()
}

func routedLife(l *mortalLife) {
	l.deploy(routerService)
	l.has(3, 0, 1)
	l.ends()
}

func changingLife(l *mortalLife) {
	l.deploy(masterSlave, 1, 1)
	l.has(2, 0, 0)
	l.accepted(l.service, flow.VerbAddRole, flow.AddRoleArguments{
		Role: json.RawMessage(`{"name":"Extra","type":"vm","cardinality":2,"template_id":0,"parents":["Slave"]}`),
	})
	l.has(4, 0, 0)
	l.accepted(l.service, flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	l.has(3, 0, 0)
	l.ends()
}

// mendedLife has a VM fail, which an operator then has recovered.
func mendedLife(l *mortalLife) {
	l.sim.FailBoots(1)
	l.deploy(masterSlave, 2, 1)
	l.comesTo(spec.ServiceFailedDeploying)
	l.accepted(l.service, flow.VerbRecover, flow.RecoverArguments{})
	l.has(3, 0, 0)
	l.accepted(l.service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	poll.Until(l.t, fmt.Sprintf("service %d to be gone (death %s)", l.service, l.at), func() bool {
		_, exists := l.body(l.service)
		return !exists && len(l.vms(l.service)) == 0
	})
}

func heldLife(l *mortalLife) {
	l.deploy(heldService)
	l.comesTo(spec.ServiceHold)
	l.accepted(l.service, flow.VerbRelease, flow.ReleaseArguments{})
	l.has(3, 0, 0)
	l.ends()
}

// healedLife has a VM vanish, which lowers the cardinality, and another power
// off, which an operator then has recovered.
func healedLife(l *mortalLife) {
	l.deploy(masterSlave, 2, 2)
	l.has(4, 0, 0)
	vms := l.vms(l.service)
	must(l.t, l.sim.DeleteVM(vms[0].ID))
	poll.Until(l.t, fmt.Sprintf("service %d to miss a VM (death %s)", l.service, l.at), func() bool {
		body, _ := l.body(l.service)
		return len(body.Roles) == 2 && body.Roles[0].Cardinality+body.Roles[1].Cardinality == 3
	})
	l.has(3, 0, 0)
	must(l.t, l.sim.PoweroffVM(vms[1].ID))
	l.comesTo(spec.ServiceWarning)
	l.accepted(l.service, flow.VerbRecover, flow.RecoverArguments{})
	l.has(3, 0, 0)
	l.ends()
}
