package bridge

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// soakTime is SOAK (10m on demand), else 30 s in CI, else some seconds.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("SOAK"); text != "" {
		duration, err := time.ParseDuration(text)
		must(t, err)
		return duration
	}
	if os.Getenv("CI") == "true" {
		return 30 * time.Second
	}
	return 4 * time.Second
}

// soaked is an oned whose VM 0, 1, 2 ... come up one after the other, and the
// publisher that tells of it, which goes and comes back.
type soaked struct {
	cloud   *fakeCloud
	count   atomic.Int64
	address string

	mu        sync.Mutex
	publisher *publisher
}

// bringUp tells of the next VM. Without a publisher nobody hears of it.
func (s *soaked) bringUp() {
	id := int(s.count.Load())
	s.cloud.set(func(f *fakeCloud) { f.vms[id] = running(id) })
	s.count.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publisher != nil {
		s.publisher.send(vmFrames(running(id)))
	}
}

func (s *soaked) restart(t *testing.T, pause time.Duration) {
	s.mu.Lock()
	s.publisher.close()
	s.publisher = nil
	s.mu.Unlock()
	must(t, sleep(limited(t), pause))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher = newTestPublisher(t, s.address)
}

// Bridges, oned and JetStream go and come back in any order. In the end every VM
// is stored at most once as heard and, where ZeroMQ lost that, as found; what was
// heard is in order.
func TestSoak(t *testing.T) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	node := natstest.NewNode(t)
	first := newTestPublisher(t, "127.0.0.1:0")
	s := &soaked{cloud: &fakeCloud{vms: map[int]flow.VM{}}, address: first.address(), publisher: first}
	config := quietly("tcp://" + s.address)
	config.Standby, config.Resync.Settle = time.Second, 300*time.Millisecond
	var bridges [2]*Bridge
	start := func(i int) {
		bridges[i] = newBridge(config, pipelineStore{openPipeline(t, node.URL())}, s.cloud, nil)
		must(t, bridges[i].Start(limited(t)))
	}
	start(0)
	start(1)
	stop, bringing := make(chan struct{}), sync.WaitGroup{}
	bringing.Go(func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-tick.C:
				s.bringUp()
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	for end := time.Now().Add(soakTime(t)); time.Now().Before(end); {
		must(t, sleep(limited(t), 200*time.Millisecond+rand.N(500*time.Millisecond)))
		switch i := random.IntN(2); random.IntN(4) {
		case 0:
			must(t, bridges[i].Stop(limited(t)))
			start(i)
		case 1: // as good as dead: it stores nothing more and gives nothing up
			bridges[i].stopPublishing()
			<-bridges[i].ended
			start(i)
		case 2:
			s.restart(t, rand.N(100*time.Millisecond))
		case 3:
			node.Stop()
			must(t, sleep(limited(t), rand.N(300*time.Millisecond)))
			node.Start()
		}
	}
	close(stop)
	bringing.Wait()
	p := openPipeline(t, node.URL())
	count := int(s.count.Load())
	poll.Within(t, 60*time.Second, "every VM to be stored", func() bool {
		for _, b := range bridges {
			b.ask("the end")
		}
		last, err := p.LastVMEvents(limited(t))
		return err == nil && len(last) == count
	})
	for _, b := range bridges {
		must(t, b.Stop(limited(t)))
	}
	found := checkSoaked(t, everything(t, p, pipeline.StreamONE))
	t.Logf("%d VMs, %d of them found by comparing", count, found)
}

// checkSoaked makes sure that each VM is stored at most once as heard, in order,
// and returns how many were found instead.
func checkSoaked(t *testing.T, messages []stored) (found int) {
	t.Helper()
	previous, seen := -1, map[int]bool{}
	for _, message := range messages {
		var event pipeline.Event
		must(t, json.Unmarshal(message.Data, &event))
		switch {
		case event.Resync && seen[event.ID]:
			t.Errorf("VM %d was found although it is stored", event.ID)
		case event.Resync:
			found++
		case event.ID <= previous:
			t.Errorf("VM %d is stored behind VM %d", event.ID, previous)
		default:
			previous = event.ID
		}
		seen[event.ID] = true
	}
	return found
}
