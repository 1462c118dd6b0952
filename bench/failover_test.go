package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/flowjet/flowjet/sim"
)

const (
	// failoverServices deploy at once, each a VM after the other.
	failoverServices = 12
	// failoverCall is what each of these takes: the time between two actions on
	// a service that nothing happens to.
	failoverCall = 100 * time.Millisecond
	// failoverVMs is how many VMs each of these is to have: it deploys for seconds.
	failoverVMs = 60
	// failoverRounds is how often a worker is taken away in each way.
	failoverRounds = 2
	// tookOver is the pause in the actions on a service from which on it counts as
	// one of the worker that was taken away.
	tookOver = 500 * time.Millisecond
	// failoverTarget bounds the time to the next action.
	failoverTarget = 1500 * time.Millisecond
)

// actions are the moments at which VMs of each service were asked for.
type actions struct {
	mutex sync.Mutex
	at    map[int][]time.Time
}

func (a *actions) note(call sim.Call) {
	var service int
	if call.Method != "one.template.instantiate" || len(call.Arguments) < 2 {
		return
	}
	_, name, _ := strings.Cut(call.Arguments[1], "(service_")
	if _, err := fmt.Sscanf(name, "%d", &service); err != nil {
		return
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.at[service] = append(a.at[service], call.Received)
}

// pauses are the longest pause of each service around a moment: between an
// action and the next, the latter after the moment; false while one has had no
// action since.
func (a *actions) pauses(services []int, moment time.Time) (pauses []time.Duration, complete bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, service := range services {
		last := moment
		longest := time.Duration(-1)
		for _, at := range a.at[service] {
			if at.Before(moment) {
				continue
			}
			longest, last = max(longest, at.Sub(last)), at
		}
		if longest < 0 {
			return nil, false
		}
		pauses = append(pauses, longest)
	}
	return pauses, true
}

// all reports whether so many VMs of each service were asked for.
func (a *actions) all(services []int, vms int) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, service := range services {
		if len(a.at[service]) < vms {
			return false
		}
	}
	return true
}

// BenchmarkFailover takes the worker away from services that deploy, by kill -9
// and by suspending it, and measures how long they wait for their next action.
func BenchmarkFailover(b *testing.B) {
	if os.Getenv("FLOWJET_BENCH_FAILOVER") == "" {
		b.Skip("takes minutes: make bench-failover")
	}
	for b.Loop() {
		folder := b.TempDir()
		auth := filepath.Join(folder, app.SimulatedAuthFile)
		at := ports.Free(b, 1)[0]
		base := startApp(b, []app.Part{app.PartNATS, app.PartSim, app.PartBridge},
			"--sim", "--data-dir", folder, "--nats-listen", at,
			"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0")
		base.Sim().SetCallDelay("one.template.instantiate", failoverCall)
		seen := &actions{at: map[int][]time.Time{}}
		base.Sim().OnCall(seen.note)
		worker := func() *process {
			return launch(b, nil, []app.Part{app.PartWorker}, "--nats-url", "nats://"+at, "--one-xmlrpc", base.Sim().Endpoint(),
				"--one-auth-file", auth, "--data-dir", b.TempDir(), "--nats-nkey-file", filepath.Join(folder, "nats", "{role}.nk"), "--nats-provision=false")
		}
		workers := []*process{worker(), worker(), worker()}
		for _, way := range []struct {
			name   string
			signal syscall.Signal
		}{{"kill -9 of a worker", syscall.SIGKILL}, {"a suspended worker", syscall.SIGSTOP}} {
			var affected, others []time.Duration
			for round := range failoverRounds {
				victim := workers[round%len(workers)]
				pauses := failOver(b, base, folder, auth, at, seen, victim, way.signal)
				workers[round%len(workers)] = worker()
				for _, pause := range pauses {
					if pause >= tookOver {
						affected = append(affected, pause)
					} else {
						others = append(others, pause)
					}
				}
			}
			line := fmt.Sprintf("%s: next action on its %d of %d services, p99", way.name, len(affected), len(affected)+len(others))
			row(line, quantile(affected, 0.99).Round(time.Millisecond).String(), "< "+failoverTarget.String())
			row(way.name+": the same for the others (an action takes "+failoverCall.String()+")", quantile(others, 0.99).Round(time.Millisecond).String(), "unaffected")
			b.ReportMetric(float64(quantile(affected, 0.99).Milliseconds()), strings.Fields(way.name)[1]+"-p99-ms")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// failOver deploys services, takes a worker away in the middle, and returns how
// long each service waited.
func failOver(b *testing.B, base *app.App, folder, auth, at string, seen *actions, victim *process, with syscall.Signal) []time.Duration {
	b.Helper()
	services := deployLong(b, base, folder, auth, at)
	await(b, "every service to have had an action", func() bool { _, all := seen.pauses(services, time.Time{}); return all })
	moment := time.Now()
	must(b, victim.command.Process.Signal(with))
	var pauses []time.Duration
	await(b, "every service to go on", func() (complete bool) {
		if time.Since(moment) < 2*failoverTarget {
			return false
		}
		pauses, complete = seen.pauses(services, moment)
		return complete
	})
	_ = victim.command.Process.Kill() // one that was suspended ends too
	await(b, "the round's services to have what they asked for", func() bool { return seen.all(services, failoverVMs) })
	return pauses
}

// deployLong starts services of many VMs each.
func deployLong(b *testing.B, base *app.App, folder, auth, at string) []int {
	b.Helper()
	credentials, err := opennebula.ReadCredentials(auth)
	must(b, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: base.Sim().Endpoint(), Credentials: credentials})
	defer oned.Close()
	pipe, err := pipeline.Open(b.Context(), pipeline.Config{URL: "nats://" + at, Options: keyOf(b, folder), Name: "bench"})
	must(b, err)
	defer pipe.Close()
	body := fmt.Appendf(nil, `{"name":"bench","deployment":"none","state":0,"roles":[{"name":"a","type":"vm","cardinality":%d,"template_id":0,"state":0}]}`, failoverVMs)
	services := make([]int, failoverServices)
	for i := range services {
		services[i], err = oned.For("oneadmin").AllocateDocument(b.Context(), spec.DocumentTypeService, "bench", body)
		must(b, err)
		_, err = work.NewQueue(pipe).PublishWork(b.Context(), pipeline.Work{Service: services[i], Reason: "bench", Taken: true}, "")
		must(b, err)
	}
	return services
}

// await waits for a condition, a minute at most.
func await(b *testing.B, what string, condition func() bool) {
	b.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-limit.C:
			b.Fatalf("waited in vain for %s", what)
		}
	}
}
