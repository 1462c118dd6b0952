package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// slowCall is what every call to oned takes here, any number at once: it is
	// the workers that have to do more at a time.
	slowCall = 50 * time.Millisecond
	// callsAtOnce is how many calls each worker may have under way. It is less
	// than the default, so that what bounds the rate is what a worker may do at once,
	// and not what the simulator, NATS and all workers share here: deploying a service
	// takes about 10 ms of one processor, and 4 workers with 10 calls each would
	// deploy 150 a second if they could.
	callsAtOnce = 3
	// memoryDisk is a folder in memory, as Linux has it.
	memoryDisk = "/dev/shm"
	// callsPerService is what a service of two VMs cannot do without before it is RUNNING: two VMs, and its document.
	callsPerService = 3
	// growthTarget is how much faster twice as many workers have to be.
	growthTarget = 1.8
)

// BenchmarkWorkers deploys services with 1, 2 and 4 workers over an oned whose calls
// take their time. The floor of each is the one before it, and of all of them the calls
// that the services cannot do without. Each partition has
// as many services as the others: how evenly a few services fall to the workers by
// their ids is not what is asked. Nor is it how fast the disk is: deploying a service
// stores some 30 messages, so NATS has its files in memory here.
func BenchmarkWorkers(b *testing.B) {
	services := 6 * pipeline.Partitions
	if os.Getenv(scaleVariable) != "" {
		services = 16 * pipeline.Partitions
	}
	for b.Loop() {
		before := 0.0
		for _, workers := range []int{1, 2, 4} {
			rate := deployWith(b, workers, services)
			line := fmt.Sprintf("%d two-role services, calls of %s, %d workers", services, slowCall, workers)
			if before == 0 {
				fmt.Printf("%-72s %12.1f/s\n", line, rate)
			} else {
				row(line, fmt.Sprintf("%.1f/s, x %.2f", rate, rate/before), fmt.Sprintf("> x %.1f", growthTarget))
				b.ReportMetric(rate/before, fmt.Sprintf("x-at-%d", workers))
			}
			bare := float64(workers*callsAtOnce) / (callsPerService * slowCall.Seconds())
			notFar(b, fmt.Sprintf("the time of a service with %d workers", workers), bare/rate, growthTarget)
			before = rate
		}
	}
	b.ReportMetric(0, "ns/op")
}

// deployWith is how many services a second so many workers bring to RUNNING,
// until nine of ten are: the last ones are a matter of how the services happen
// to fall to the workers.
func deployWith(b *testing.B, workers, services int) float64 {
	b.Helper()
	folder, err := os.MkdirTemp(memoryDisk, "flowjet")
	must(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(folder) })
	auth := filepath.Join(folder, app.SimulatedAuthFile)
	at := ports.Free(b, 1)[0]
	base := startApp(b, []app.Part{app.PartNATS, app.PartSim, app.PartBridge},
		"--sim", "--data-dir", folder, "--nats-listen", at,
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
		"--sim-boot-delay", "0s")
	open := func() *pipeline.Pipeline {
		pipe, err := pipeline.Open(b.Context(), pipeline.Config{URL: "nats://" + at, Options: keyOf(b, folder), Name: "bench"})
		must(b, err)
		b.Cleanup(pipe.Close)
		return pipe
	}
	for i := range workers {
		startWorker(b, fmt.Sprintf("worker-%d", i+1), open(), newClient(b, base, auth))
	}
	pipe := open()
	wakes := pendingServices(b, base, auth, services)
	reader, err := history.New(pipe).ReadTransitions(b.Context(), -1, 0)
	must(b, err)
	defer reader.Stop()
	base.Sim().SetCallDelay("", slowCall)
	defer base.Sim().SetCallDelay("", 0)
	began := time.Now()
	must(b, work.NewQueue(pipe).PublishWakes(b.Context(), wakes, nil))
	wanted := services * 9 / 10
	for running := 0; running < wanted; {
		_, told, err := reader.Next(b.Context())
		must(b, err)
		if told.Kind == "service" && told.New == spec.ServiceRunning.String() {
			running++
		}
	}
	return float64(wanted) / time.Since(began).Seconds()
}

// startWorker starts a worker until the benchmark's end.
func startWorker(b *testing.B, id string, pipe *pipeline.Pipeline, oned *opennebula.Client) {
	b.Helper()
	config, err := app.ReadConfig("", pflag.NewFlagSet(id, pflag.ContinueOnError))
	must(b, err)
	worker := consumers.New(consumers.Config{
		ID: id, Settings: config.Settings(), MaxCalls: callsAtOnce, Logger: slog.New(slog.DiscardHandler),
	}, pipe, oned)
	must(b, worker.Start(b.Context()))
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		_ = worker.Stop(ctx)
	})
}

func newClient(b *testing.B, base *app.App, auth string) *opennebula.Client {
	b.Helper()
	credentials, err := opennebula.ReadCredentials(auth)
	must(b, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: base.Sim().Endpoint(), Credentials: credentials})
	b.Cleanup(oned.Close)
	return oned
}

// pendingServices makes services that nobody has been told of, equally many in each
// partition, and what tells.
func pendingServices(b *testing.B, base *app.App, auth string, services int) []pipeline.Wake {
	b.Helper()
	oned := newClient(b, base, auth)
	const body = `{"name":"bench","deployment":"straight","state":0,"roles":[
		{"name":"Master","type":"vm","cardinality":1,"template_id":0,"state":0},
		{"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"],"state":0}]}`
	var wakes []pipeline.Wake
	inPartition := [pipeline.Partitions]int{}
	for len(wakes) < services {
		id, err := oned.For("oneadmin").AllocateDocument(b.Context(), spec.DocumentTypeService, "bench", []byte(body))
		must(b, err)
		if inPartition[pipeline.Partition(id)] == services/pipeline.Partitions {
			must(b, oned.Server().DeleteDocument(b.Context(), id))
			continue
		}
		inPartition[pipeline.Partition(id)]++
		wakes = append(wakes, pipeline.Wake{Work: pipeline.Work{Service: id, Reason: "bench", Taken: true}, MessageID: fmt.Sprintf("bench-%d", id)})
	}
	return wakes
}

// startApp runs parts in this process until the benchmark ends.
func startApp(b *testing.B, parts []app.Part, arguments ...string) *app.App {
	b.Helper()
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	app.AddFlags(flags)
	must(b, flags.Parse(arguments))
	config, err := app.ReadConfig("", flags)
	must(b, err)
	started := app.New(config, parts, "bench", io.Discard, slog.New(slog.DiscardHandler))
	must(b, started.Start(b.Context()))
	b.Cleanup(func() { stopApp(started) })
	return started
}
