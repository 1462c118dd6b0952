package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// scaleVariable makes the large benchmarks large: it is how many services there
// are, of ten VMs each.
const scaleVariable = "FLOWJET_BENCH_SCALE"

// size is how much there is of everything.
type size struct {
	services, roles, vms int           // vms a role
	idle                 time.Duration // how long the idle zone is watched
}

func (s size) allVMs() int { return s.services * s.roles * s.vms }

// stormTarget is the target for the storm's rate. A short storm has none: it is over
// before the cursors, which are saved four times a second, tell of it.
func (s size) stormTarget() string {
	const short = 10000
	if s.allVMs() < short {
		return "-, too short"
	}
	return fmt.Sprintf("> %d/s", stormLimit)
}

func sizeNow() size {
	services, err := strconv.Atoi(os.Getenv(scaleVariable))
	if err != nil || services < 1 {
		return size{services: 200, roles: 2, vms: 5, idle: 2 * time.Second}
	}
	return size{services: services, roles: 2, vms: 5, idle: 30 * time.Second}
}

// zone is a simulated OpenNebula in a process of its own, full of services, and
// a Flowjet in another.
type zone struct {
	size    size
	sim     *process
	flowjet *process
	control string
	api     string
	common  []string // flags of every process
	pipe    *pipeline.Pipeline
	oned    *opennebula.Client
	http    *http.Client
}

// newZone starts the simulator and fills it.
func newZone(b *testing.B, s size) *zone {
	b.Helper()
	at := ports.Free(b, 5)
	folder := b.TempDir()
	auth := filepath.Join(folder, app.SimulatedAuthFile)
	z := &zone{size: s, control: "http://" + at[4], api: "http://" + at[0], http: &http.Client{Timeout: 10 * time.Minute}}
	z.common = []string{
		"--data-dir", folder, "--api-listen", at[0], "--nats-listen", at[1], "--one-auth-file", auth,
		"--sim-listen", strings.Join(at[2:], ","),
		"--one-xmlrpc", "http://" + at[2] + "/RPC2", "--one-hooks", "tcp://" + at[3],
	}
	z.sim = launch(b, nil, []app.Part{app.PartSim},
		append(z.common, "--sim", "--sim-boot-delay", "0s")...)
	z.tell(b, "/population", fmt.Sprintf(`{"services":%d,"roles":%d,"vms":%d}`, s.services, s.roles, s.vms))
	credentials, err := opennebula.ReadCredentials(auth)
	must(b, err)
	z.oned = opennebula.NewClient(opennebula.Config{Endpoint: "http://" + at[2] + "/RPC2", Credentials: credentials})
	b.Cleanup(z.oned.Close)
	return z
}

// startFlowjet starts all of Flowjet but the simulator.
func (z *zone) startFlowjet(b *testing.B) {
	b.Helper()
	z.flowjet = launch(b, nil, []app.Part{app.PartNATS, app.PartWorker, app.PartBridge, app.PartAPI}, z.common...)
	opened, err := pipeline.Open(b.Context(), pipeline.Config{URL: "nats://" + z.common[5], Options: keyOf(b, z.common[1]), Name: "bench"})
	must(b, err)
	z.pipe = opened
}

func (z *zone) stopFlowjet() {
	z.pipe.Close()
	z.flowjet.stop()
}

// tell asks the simulator's control API for something.
func (z *zone) tell(b *testing.B, path, body string) {
	b.Helper()
	response, err := z.http.Post(z.control+path, "application/json", strings.NewReader(body))
	must(b, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(b, err)
	if response.StatusCode != http.StatusOK {
		b.Fatalf("POST %s: %s: %s", path, response.Status, text)
	}
}

// awaitCaughtUp waits until at least so many events are stored, and what they
// have woken has been worked off.
func (z *zone) awaitCaughtUp(b *testing.B, events uint64) {
	b.Helper()
	deadline := time.NewTimer(catchUpLimit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var marks []uint64
	for {
		behind := z.unrouted(b, events)
		if behind == "" && marks == nil {
			marks = z.mark(b)
		}
		if behind == "" {
			behind = z.unfinished(b, marks)
		}
		if behind == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			b.Fatalf("not caught up after %s: %s", catchUpLimit, behind)
		}
	}
}

// unrouted says what is not stored or not routed yet, "" for nothing.
func (z *zone) unrouted(b *testing.B, events uint64) string {
	b.Helper()
	if last := z.last(b, pipeline.StreamONE); last < events {
		return fmt.Sprintf("%d of %d events are stored", last, events)
	}
	done, err := z.pipe.LoadCursor(b.Context(), pipeline.RouterKey)
	must(b, err)
	if done < events {
		return fmt.Sprintf("%d of %d events are routed", done, events)
	}
	return ""
}

// mark puts a wake-up behind all work of each partition.
func (z *zone) mark(b *testing.B) []uint64 {
	b.Helper()
	marks := make([]uint64, pipeline.Partitions)
	for service := range z.size.services {
		if mark := &marks[pipeline.Partition(service)]; *mark == 0 {
			var err error
			*mark, err = work.NewQueue(z.pipe).PublishWork(b.Context(), pipeline.Work{Service: service, Reason: "a benchmark's mark"}, "")
			must(b, err)
		}
	}
	return marks
}

// unfinished says which partition has not come to its mark, "" for none.
func (z *zone) unfinished(b *testing.B, marks []uint64) string {
	b.Helper()
	for partition, mark := range marks {
		done, err := z.pipe.LoadCursor(b.Context(), pipeline.PartitionKey(partition))
		must(b, err)
		if done < mark {
			return fmt.Sprintf("partition %d is worked off to %d of %d", partition, done, mark)
		}
	}
	return ""
}

// last is a stream's last sequence.
func (z *zone) last(b *testing.B, stream string) uint64 {
	b.Helper()
	handle, err := z.pipe.JetStream().Stream(b.Context(), stream)
	must(b, err)
	info, err := handle.Info(b.Context())
	must(b, err)
	return info.State.LastSeq
}

// stored is the last sequence of each stream that a storm writes to: what each
// message costs is an fsync, alone or shared with others of its batch.
func (z *zone) stored(b *testing.B) map[string]uint64 {
	b.Helper()
	sequences := map[string]uint64{}
	for _, stream := range []string{pipeline.StreamONE, pipeline.StreamWork, pipeline.StreamFlow, pipeline.StreamOf(pipeline.BucketState), pipeline.StreamOf(pipeline.BucketOwners)} {
		sequences[stream] = z.last(b, stream)
	}
	return sequences
}

// reportStored prints how many messages were stored since, for each VM.
func (z *zone) reportStored(b *testing.B, before map[string]uint64) {
	b.Helper()
	var each []string
	for stream, now := range z.stored(b) {
		each = append(each, fmt.Sprintf("%s %.2f", stream, float64(now-before[stream])/float64(z.size.allVMs())))
	}
	slices.Sort(each)
	fmt.Printf("  messages stored for each VM: %s\n", strings.Join(each, ", "))
}

// calls counts the calls that the simulator has answered, by method.
func (z *zone) calls(b *testing.B) map[string]int {
	b.Helper()
	response, err := z.http.Get(z.control + "/calls?method=none")
	must(b, err)
	defer response.Body.Close()
	var answer struct {
		Counts map[string]int `json:"counts"`
	}
	must(b, json.NewDecoder(response.Body).Decode(&answer))
	return answer.Counts
}

// reportCalls prints how often oned has been called since, for each service.
func (z *zone) reportCalls(b *testing.B, before map[string]int) {
	b.Helper()
	var each []string
	for method, now := range z.calls(b) {
		if share := float64(now-before[method]) / float64(z.size.services); share >= 0.005 {
			each = append(each, fmt.Sprintf("%s %.2f", method, share))
		}
	}
	slices.Sort(each)
	fmt.Printf("  calls to oned for each service: %s\n", strings.Join(each, ", "))
}

// states counts the services by state, reading their documents in pages.
func (z *zone) states(b *testing.B) map[spec.ServiceState]int {
	b.Helper()
	counts := map[spec.ServiceState]int{}
	must(b, z.oned.Server().DocumentPages(b.Context(), spec.DocumentTypeService, opennebula.FilterAll, 1000, func(page []opennebula.Document) error {
		for _, document := range page {
			body, err := spec.ParseBody(document.Body)
			must(b, err)
			counts[(spec.Service{Body: body}).State()]++
		}
		return nil
	}))
	return counts
}

// commands sends commands, one after the other, to services at random until ctx
// ends, and returns how long each took. Each changes a description: a command
// that a worker carries out in any state.
func (z *zone) commands(ctx context.Context, b *testing.B) (took []time.Duration) {
	b.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		began := time.Now()
		if err := z.describe(ctx, rand.IntN(z.size.services), n); err != nil {
			if ctx.Err() == nil {
				b.Error(err)
			}
			return took
		}
		took = append(took, time.Since(began))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return took
		}
	}
}

// describe changes a service's description. A command that is not answered in
// time is accepted, and counts with the time that it was waited for.
func (z *zone) describe(ctx context.Context, service, n int) error {
	body := fmt.Sprintf(`{"append":true,"template":"{\"description\":\"number %d\"}"}`, n)
	status, answer, err := ask(ctx, z.http, http.MethodPut, fmt.Sprintf("%s/service/%d", z.api, service), body)
	if err == nil && status != http.StatusNoContent && status != http.StatusAccepted {
		err = fmt.Errorf("update service %d: %d: %s", service, status, answer)
	}
	return err
}

// limits are what is to be reached with 10,000 services and 100,000 VMs.
const (
	startLimit   = 60 * time.Second
	memoryLimit  = 1 << 30
	idleLimit    = 0.05 // of a core
	stormLimit   = 5000 // events a second
	busyTarget   = 2    // of the simulator's processor time, in the storm
	commandLimit = 250 * time.Millisecond

	// catchUpLimit is when a benchmark gives up.
	catchUpLimit = 2 * time.Minute
)

// row prints a figure next to its target.
func row(what, figure, target string) { fmt.Printf("%-72s %14s   target %s\n", what, figure, target) }

// BenchmarkScaleStart has a Flowjet start over a zone full of services that it
// knows nothing of, and then be idle. With FLOWJET_BENCH_SCALE=10000 these
// are 10,000 services with 100,000 VMs.
func BenchmarkScaleStart(b *testing.B) {
	for b.Loop() {
		z := newZone(b, sizeNow())
		z.measureColdStart(b)
		z.measureIdle(b)
		z.stopFlowjet()
		z.sim.stop()
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScaleStorm has every host of such a zone fail, and one come back while
// Flowjet is down.
func BenchmarkScaleStorm(b *testing.B) {
	for b.Loop() {
		z := newZone(b, sizeNow())
		z.measureColdStart(b)
		z.measureStorm(b)
		z.measureWarmStart(b)
		z.stopFlowjet()
		z.sim.stop()
	}
	b.ReportMetric(0, "ns/op")
}

// measureColdStart starts without any data: every VM and service is news.
func (z *zone) measureColdStart(b *testing.B) {
	b.Helper()
	fmt.Printf("%d services with %d VMs; the simulator is a process of its own\n", z.size.services, z.size.allVMs())
	began := time.Now()
	z.startFlowjet(b)
	z.awaitCaughtUp(b, uint64(z.size.allVMs()))
	took := time.Since(began)
	row("start on an empty data folder, until every VM is known and worked off", took.Round(10*time.Millisecond).String(), "< "+startLimit.String())
	z.reportBusy(b, 0, z.size.allVMs())
	z.reportMemory(b, "after the start")
	b.ReportMetric(took.Seconds(), "start-s")
}

func (z *zone) reportMemory(b *testing.B, when string) {
	b.Helper()
	now, peak := z.flowjet.memory(b)
	row("memory of bridge, worker, API and NATS "+when+" (at most so far)",
		fmt.Sprintf("%d (%d) MiB", now>>20, peak>>20), fmt.Sprintf("< %d MiB", memoryLimit>>20))
}

// reportBusy prints the processor time that Flowjet has used for so many VMs: a
// figure that another load on the machine hardly changes.
func (z *zone) reportBusy(b *testing.B, before time.Duration, vms int) {
	b.Helper()
	used := z.flowjet.busy(b) - before
	row("  processor time used, and for each VM", fmt.Sprintf("%s %s", used, (used/time.Duration(vms)).Round(time.Microsecond)), "-")
}

// reportFloor prints the processor time that the simulator has used for the same VMs,
// which is the same work in every run: what it takes tells how fast the machine was,
// and Flowjet's in proportion to it does not depend on that.
func (z *zone) reportFloor(b *testing.B, flowjet, simulator time.Duration) {
	b.Helper()
	each, ratio := (simulator / time.Duration(z.size.allVMs())).Round(time.Microsecond), flowjet.Seconds()/simulator.Seconds()
	row("  the same of the simulator, and Flowjet's in proportion to it",
		fmt.Sprintf("%s %s %.2f", simulator, each, ratio), "-")
	notFar(b, "Flowjet's processor time for the storm", ratio, busyTarget)
}

// measureIdle watches a zone in which nothing happens.
func (z *zone) measureIdle(b *testing.B) {
	b.Helper()
	z.settle(b)
	before, began := z.flowjet.busy(b), time.Now()
	timer := time.NewTimer(z.size.idle)
	<-timer.C
	share := (z.flowjet.busy(b) - before).Seconds() / time.Since(began).Seconds()
	row("idle, share of a core", fmt.Sprintf("%.1f %%", 100*share), fmt.Sprintf("< %.0f %%", 100*idleLimit))
	b.ReportMetric(100*share, "idle-%")
}

// settle waits until the start's comparisons with oned are over: a second in
// which Flowjet does next to nothing.
func (z *zone) settle(b *testing.B) {
	b.Helper()
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for before := z.flowjet.busy(b); ; {
		<-tick.C
		now := z.flowjet.busy(b)
		if now-before < 300*time.Millisecond {
			return
		}
		before = now
	}
}

// measureStorm has all hosts fail, and sends commands meanwhile.
func (z *zone) measureStorm(b *testing.B) {
	b.Helper()
	z.settle(b)
	var quiet, took []time.Duration
	calm, cancel := context.WithTimeout(b.Context(), time.Second)
	quiet = z.commands(calm, b)
	cancel()
	before := z.stored(b)
	called := z.calls(b)
	busy, simBusy := z.flowjet.busy(b), z.sim.busy(b)
	ctx, end := context.WithCancel(b.Context())
	var client sync.WaitGroup
	client.Go(func() { took = z.commands(ctx, b) })
	began := time.Now()
	for host := range 4 {
		z.tell(b, fmt.Sprintf("/hosts/%d/fail", host), "")
	}
	published := time.Since(began)
	z.awaitCaughtUp(b, before[pipeline.StreamONE]+uint64(z.size.allVMs()))
	elapsed := time.Since(began)
	end()
	client.Wait()
	rate := float64(z.size.allVMs()) / elapsed.Seconds()
	row(fmt.Sprintf("storm of %d VM events, worked off in %s (published in %s)", z.size.allVMs(),
		elapsed.Round(10*time.Millisecond), published.Round(10*time.Millisecond)), fmt.Sprintf("%.0f/s", rate), z.size.stormTarget())
	z.reportBusy(b, busy, z.size.allVMs())
	z.reportFloor(b, z.flowjet.busy(b)-busy, z.sim.busy(b)-simBusy)
	z.reportStored(b, before)
	z.reportCalls(b, called)
	row(fmt.Sprintf("a command meanwhile (%d samples), p50 and p99", len(took)),
		fmt.Sprintf("%s %s", quantile(took, 0.5).Round(time.Millisecond), quantile(took, 0.99).Round(time.Millisecond)), "p99 < "+commandLimit.String())
	row("the same in a quiet zone, p50 and p99",
		fmt.Sprintf("%s %s", quantile(quiet, 0.5).Round(time.Millisecond), quantile(quiet, 0.99).Round(time.Millisecond)), "-")
	z.reportMemory(b, "after the storm")
	if states := z.states(b); states[spec.ServiceWarning] != z.size.services {
		b.Errorf("after the storm the services are %v, want all in WARNING", states)
	}
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(float64(quantile(took, 0.99).Milliseconds()), "command-p99-ms")
}

// measureWarmStart has a host come back while Flowjet is down.
func (z *zone) measureWarmStart(b *testing.B) {
	b.Helper()
	stored, called := z.stored(b), z.calls(b)
	z.stopFlowjet()
	z.tell(b, "/hosts/0/recover", "")
	began := time.Now()
	z.startFlowjet(b)
	z.awaitCaughtUp(b, stored[pipeline.StreamONE]+uint64(z.size.allVMs()/4))
	row("restart, until what a quarter of the VMs did meanwhile is worked off", time.Since(began).Round(10*time.Millisecond).String(), "< "+startLimit.String())
	z.reportBusy(b, 0, z.size.allVMs()/4)
	z.reportStored(b, stored)
	z.reportCalls(b, called)
	z.reportMemory(b, "after the restart")
}
