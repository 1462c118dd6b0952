package bridge

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// simulated is a simulated OpenNebula, bridged into a JetStream of its own.
type simulated struct {
	oned   *sim.Sim
	client *opennebula.Client
	p      *pipeline.Pipeline
	bridge *Bridge
}

func newZone(t *testing.T) *simulated {
	t.Helper()
	oned, err := sim.New(sim.Config{BootDelay: sim.NoDelay})
	must(t, err)
	must(t, oned.Start(limited(t)))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, oned.Stop(ctx))
	})
	credentials, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(t, err)
	z := &simulated{oned: oned, p: newPipeline(t)}
	z.client = opennebula.NewClient(opennebula.Config{Endpoint: oned.Endpoint(), Credentials: credentials})
	t.Cleanup(z.client.Close)
	z.bridge = New(quietly(oned.HooksEndpoint()), z.p, z.client)
	startBridge(t, z.bridge)
	must(t, oned.WaitSubscribed(limited(t), "EVENT API one.vm.update 1"))
	return z
}

// instantiate makes a VM of service 42 and returns its id.
func (z *simulated) instantiate(t *testing.T) int {
	t.Helper()
	id, err := z.client.For("oneadmin").InstantiateTemplate(limited(t), 0, "web", false, "SERVICE_ID=\"42\"\nROLE_NAME=\"web\"\n")
	must(t, err)
	return id
}

// last is a VM's newest stored event.
func (z *simulated) last(t *testing.T, id int) pipeline.Event {
	t.Helper()
	last, err := lastVMEvents(limited(t), z.p)
	must(t, err)
	return last[id]
}

func TestLifeOfASimulatedVM(t *testing.T) {
	z := newZone(t)
	id := z.instantiate(t)
	poll.Until(t, "the VM to run", func() bool { return z.last(t, id).LCMState == "RUNNING" })
	event := z.last(t, id)
	if event.VM == nil || event.VM.Service != 42 || event.VM.Role != "web" || event.Resync {
		t.Errorf("event %+v of %+v", event, event.VM)
	}
	must(t, z.oned.ReadyVM(id))
	poll.Until(t, "the VM to be ready", func() bool {
		for _, message := range everything(t, z.p, pipeline.StreamONE) {
			var event pipeline.Event
			must(t, json.Unmarshal(message.Data, &event))
			if event.Object == "api" && event.ID == id && event.Ready != nil && *event.Ready {
				return true
			}
		}
		return false
	})
	must(t, z.client.For("oneadmin").ActOnVM(limited(t), "terminate-hard", id))
	poll.Until(t, "the VM to end", func() bool { return z.last(t, id).State == one.VMDone.String() })
	if deadLetters := z.bridge.Status()[0].DeadLetters; deadLetters != 0 {
		t.Errorf("%d dead letters", deadLetters)
	}
}

// All events are lost: the comparison alone has to find out.
func TestLostEventsAreFoundBySimulatedComparison(t *testing.T) {
	z := newZone(t)
	first := z.instantiate(t)
	poll.Until(t, "the first VM to run", func() bool { return z.last(t, first).LCMState == "RUNNING" })
	poll.Until(t, "a comparison", func() bool { return !z.bridge.Status()[0].LastResync.IsZero() })
	z.oned.DropEvents(1_000_000)
	must(t, z.client.For("oneadmin").ActOnVM(limited(t), "terminate-hard", first))
	second := z.instantiate(t)
	poll.Until(t, "the VMs to change", func() bool {
		one, err := z.client.Server().VM(limited(t), first)
		must(t, err)
		two, err := z.client.Server().VM(limited(t), second)
		must(t, err)
		return one.Gone() && two.Running()
	})
	compared(t, z.bridge)
	poll.Until(t, "the differences", func() bool {
		return z.last(t, first).State == "DONE" && z.last(t, second).LCMState == "RUNNING"
	})
	if event := z.last(t, second); !event.Resync || event.VM.Service != 42 {
		t.Errorf("event %+v of %+v", event, event.VM)
	}
}

// A network's READY is lost: the service that waits for it is woken all the same.
func TestLostNetworksAreFoundBySimulatedComparison(t *testing.T) {
	z := newZone(t)
	poll.Until(t, "a comparison", func() bool { return !z.bridge.Status()[0].LastResync.IsZero() })
	z.oned.DropEvents(1_000_000)
	id, err := z.client.For("oneadmin").ReserveNetwork(limited(t), 0, "SIZE=2\nNAME=\"part\"\n")
	must(t, err)
	poll.Until(t, "the network to be ready", func() bool {
		network, err := z.client.Server().Network(limited(t), id)
		must(t, err)
		return network.State == one.NetworkReady
	})
	compared(t, z.bridge)
	poll.Until(t, "the network to be stored", func() bool { return isStored(t, z.p, pipeline.ObjectSubject(0, "net", id, "READY")) })
	must(t, z.client.For("oneadmin").DeleteNetwork(limited(t), id))
	compared(t, z.bridge)
	poll.Until(t, "its end to be stored", func() bool { return isStored(t, z.p, pipeline.ObjectSubject(0, "net", id, "DONE")) })
}

func TestRestartOfTheSimulatedZone(t *testing.T) {
	z := newZone(t)
	poll.Until(t, "a comparison", func() bool { return !z.bridge.Status()[0].LastResync.IsZero() })
	must(t, z.oned.Restart(20*time.Millisecond))
	must(t, z.oned.WaitSubscribed(limited(t), "EVENT STATE VM/ACTIVE/RUNNING/1 "))
	id := z.instantiate(t)
	poll.Until(t, "the VM to run", func() bool { return z.last(t, id).LCMState == "RUNNING" })
}
