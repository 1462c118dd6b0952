package bridge

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/sim"
)

// soakTime is FLOWJET_SOAK ("10m" on demand), else 30 s in CI, else some seconds.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("FLOWJET_SOAK"); text != "" {
		duration, err := time.ParseDuration(text)
		must(t, err)
		return duration
	}
	if os.Getenv("CI") == "true" {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// soak is a zone of three servers under load, two bridges in processes of their
// own, and a JetStream, all of which go and come back.
type soak struct {
	t       *testing.T
	random  *rand.Rand
	oned    *sim.Sim
	client  *opennebula.Client
	node    *natstest.Node
	bridges [2]*bridgeProcess
	told    toldEvents
	// faults counts what was done, by name.
	faults map[string]int
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)), node: natstest.NewNode(t), faults: map[string]int{}}
	oned, err := sim.New(sim.Config{
		Others: make([]sim.ServerAddress, 2), ElectionTime: 50 * time.Millisecond, BootDelay: time.Millisecond, Published: s.told.note,
	})
	must(t, err)
	must(t, oned.Start(limited(t)))
	t.Cleanup(func() { must(t, oned.Stop(limited(t))) })
	s.oned = oned
	credentials, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(t, err)
	endpoints, _ := s.servers()
	s.client = opennebula.NewClient(opennebula.Config{
		Endpoint: endpoints[0], Others: endpoints[1:], Credentials: credentials, Timeout: 5 * time.Second,
	})
	t.Cleanup(s.client.Close)
	for i := range s.bridges {
		s.startBridge(i)
	}
	return s
}

// servers are the zone's XML-RPC and hook addresses.
func (s *soak) servers() (endpoints, hooks []string) {
	for _, server := range s.oned.Servers() {
		endpoints, hooks = append(endpoints, server.Endpoint), append(hooks, server.Hooks)
	}
	return endpoints, hooks
}

func (s *soak) startBridge(i int) {
	endpoints, hooks := s.servers()
	s.bridges[i] = startBridgeProcess(s.t, strings.Join(hooks, ","), s.node.URL(),
		onedAddress+"="+strings.Join(endpoints, ","), onedUser+"="+s.oned.ServerCredentials())
}

// Bridges are killed and suspended, oned and JetStream restart, and the zone's
// leadership moves, in any order and under load. In the end what is stored of
// every VM and network is what the zone says; every event that was told is stored
// at most once, and those of each publisher in the order in which it told them.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.compared()
	stop, load := make(chan struct{}), sync.WaitGroup{}
	load.Go(func() { s.load(stop) })
	faults := []struct {
		name string
		do   func()
	}{
		{"bridge killed", s.killBridge}, {"bridge suspended", s.suspendBridge}, {"zone restarted", s.restartZone},
		{"JetStream restarted", s.restartJetStream}, {"leadership moved", s.moveLeadership}, {"leader killed", s.killLeader},
	}
	for end := time.Now().Add(soakTime(t)); time.Now().Before(end); {
		must(t, idle.For(limited(t), 200*time.Millisecond+rand.N(800*time.Millisecond)))
		fault := faults[s.random.IntN(len(faults))]
		fault.do()
		s.faults[fault.name]++
	}
	close(stop)
	load.Wait()
	p := openPipeline(t, s.node.URL())
	differs := ""
	defer func() {
		if differs != "" {
			t.Errorf("at the end %s; %v", differs, s.faults)
		}
	}()
	poll.Until(t, "the stored states to be the zone's", func() bool { differs = s.differs(p); return differs == "" })
	for _, b := range s.bridges {
		b.kill()
	}
	heard, found := s.checkStored(p)
	t.Logf("%v; %d events told, %d stored as heard, %d as found", s.faults, s.told.count(), heard, found)
}

// compared waits for the first comparison: what comes and goes before it is history.
func (s *soak) compared() {
	p := openPipeline(s.t, s.node.URL())
	poll.Until(s.t, "the first comparison", func() bool {
		cursor, err := p.LoadCursor(limited(s.t), pipeline.ComparedKey)
		return err == nil && cursor > 0
	})
}

func (s *soak) killBridge() {
	i := s.random.IntN(len(s.bridges))
	s.bridges[i].kill()
	s.startBridge(i)
}

// suspendBridge stops a bridge for longer than others wait for it, or not.
func (s *soak) suspendBridge() {
	process := s.bridges[s.random.IntN(len(s.bridges))].command.Process
	must(s.t, process.Signal(syscall.SIGSTOP))
	must(s.t, idle.For(limited(s.t), time.Duration(s.random.IntN(2500))*time.Millisecond))
	must(s.t, process.Signal(syscall.SIGCONT))
}

func (s *soak) restartZone() {
	must(s.t, s.oned.Restart(time.Duration(s.random.IntN(200))*time.Millisecond))
}

func (s *soak) restartJetStream() {
	s.node.Stop()
	must(s.t, idle.For(limited(s.t), time.Duration(s.random.IntN(500))*time.Millisecond))
	s.node.Start()
}

func (s *soak) moveLeadership() { must(s.t, s.oned.MoveLeadership()) }

func (s *soak) killLeader() {
	for i, server := range s.oned.Servers() {
		if server.Leader {
			must(s.t, s.oned.StopServer(i))
			must(s.t, idle.For(limited(s.t), time.Duration(s.random.IntN(600))*time.Millisecond))
			must(s.t, s.oned.StartServer(i))
			return
		}
	}
}

// differs names an object of which the newest stored event does not tell what the
// zone does; empty for none.
func (s *soak) differs(p *pipeline.Pipeline) string {
	last, err := lastVMEvents(limited(s.t), p)
	if err != nil {
		return err.Error()
	}
	for _, vm := range s.oned.VMs() {
		event := last[vm.ID]
		if event.VM == nil || event.VM.State != vm.State || event.VM.LCMState != vm.LCMState || event.VM.Ready != (vm.Ready == "YES") {
			return fmt.Sprintf("VM %d is %s/%s, ready %q, and stored as %s, %+v", vm.ID, vm.State, vm.LCMState, vm.Ready, event.Title(), event.VM)
		}
	}
	return s.networksDiffer(p)
}

func (s *soak) networksDiffer(p *pipeline.Pipeline) string {
	networks, err := s.client.Server().Networks(limited(s.t), opennebula.FilterAll)
	if err != nil {
		return err.Error()
	}
	index := feeds.New(p).Index(objectNet)
	if err := index.CatchUp(limited(s.t)); err != nil {
		return err.Error()
	}
	alive := 0
	index.All(func(_ int, stored feeds.StoredObject) {
		if !stored.Done {
			alive++
		}
	})
	for _, network := range networks {
		stored, known := index.Of(network.ID)
		if !known || !index.Same(stored, foundNetwork(network.ID, network.State)) {
			return fmt.Sprintf("network %d is %s, and stored otherwise", network.ID, network.State)
		}
	}
	if alive != len(networks) {
		return fmt.Sprintf("there are %d networks, and %d stored as alive", len(networks), alive)
	}
	return ""
}
