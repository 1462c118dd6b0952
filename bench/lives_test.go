package bench

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// livesVariable is how many services live in a day, of which a week has seven: 1,440 are those
// of a zone that makes one each minute.
const (
	livesVariable = "FLOWJET_BENCH_LIVES"
	livesDays     = 7
	// eventDays is for how many days events are kept: from then on memory must not grow.
	eventDays = 3
	lasting   = 500
	// rest is how long it takes until the memory that a day's work has taken in minutes is given back: NATS's caches and Go's garbage.
	rest = 3 * time.Minute
)

// holdings is what Flowjet holds when no service is left.
type holdings struct {
	memory                                        int64
	threads, files, consumers, timers, keys, open int
}

// BenchmarkLives has service after service made, run and removed, as many as in a week, and
// compares what Flowjet holds after three days with what it holds at the end. A day takes
// minutes; what NATS keeps for less than the week goes at the end of each as it would then.
func BenchmarkLives(b *testing.B) {
	services, err := strconv.Atoi(os.Getenv(livesVariable))
	if err != nil || services < 1 {
		services = 35
	}
	for b.Loop() {
		z := newZone(b, size{roles: 1})
		z.startFlowjet(b)
		path := z.liveTemplate(b)
		nights := z.nights(b)
		var days []holdings
		began := time.Now()
		for range livesDays {
			share(services, func(int) { z.live(b, path) })
			nights(b)
			if compared := len(days)+1 == eventDays || len(days)+1 == livesDays; compared && services >= lasting {
				rested := time.NewTimer(rest)
				<-rested.C
			}
			days = append(days, z.holdings(b))
		}
		first, last, took := days[eventDays-1], days[livesDays-1], time.Since(began)
		fmt.Printf("%d services lived and ended in %s, %d a second\n", services*livesDays, took.Round(time.Second), int(float64(services*livesDays)/took.Seconds()))
		growth := float64(last.memory) / float64(first.memory)
		row("memory after the first day, after three and after seven", fmt.Sprintf("%d, %d, %d MiB", days[0].memory>>20, first.memory>>20, last.memory>>20), "< x 1.5 from three")
		for _, one := range []struct {
			what        string
			first, last int
		}{
			{"threads", first.threads, last.threads}, {"open files", first.open, last.open}, {"consumers", first.consumers, last.consumers},
			{"timers", first.timers, last.timers}, {"owners of VMs, and records of services that live", first.keys, last.keys},
			{"files of JetStream without messages", first.files, last.files},
		} {
			row(one.what, fmt.Sprintf("%d, %d", one.first, one.last), "as many")
			const chance = 8 // connections, blocks and threads that come and go
			if one.last > one.first+one.first/4+chance {
				b.Errorf("%s: %d after %d lives, %d after %d", one.what, one.last, services*livesDays, one.first, services*eventDays)
			}
		}
		if growth > 1.5 && services >= lasting { // a few lives may be before the first collections of garbage
			b.Errorf("memory has grown by a factor of %.2f", growth)
		}
		b.ReportMetric(growth, "x-memory")
		b.ReportMetric(0, "ns/op")
		z.stopFlowjet()
		z.sim.stop()
	}
}

// nights returns what is to be called at the end of each day: it removes what NATS keeps for three days and for one.
// Message ids, which are known for minutes, are known for seconds.
func (z *zone) nights(b *testing.B) func(*testing.B) {
	b.Helper()
	js := z.pipe.JetStream()
	for _, name := range []string{pipeline.StreamONE, pipeline.StreamWork, pipeline.StreamFlow} {
		stream, err := js.Stream(b.Context(), name)
		must(b, err)
		config := stream.CachedInfo().Config
		config.Duplicates = time.Second
		_, err = js.UpdateStream(b.Context(), config)
		must(b, err)
	}
	ends := map[string][]uint64{}
	return func(b *testing.B) {
		b.Helper()
		for name, days := range map[string]int{pipeline.StreamONE: eventDays, pipeline.StreamOf(pipeline.BucketCommands): 1} {
			stream, err := js.Stream(b.Context(), name)
			must(b, err)
			ends[name] = append(ends[name], stream.CachedInfo().State.LastSeq)
			if old := len(ends[name]) - 1 - days; old >= 0 {
				must(b, stream.Purge(b.Context(), jetstream.WithPurgeSequence(ends[name][old]+1)))
			}
		}
	}
}

func (z *zone) send(b *testing.B, method, path, body string) (status int, answer string) {
	b.Helper()
	status, answer, err := ask(b.Context(), z.http, method, z.api+path, body)
	must(b, err)
	return status, answer
}

func (z *zone) liveTemplate(b *testing.B) (path string) {
	b.Helper()
	status, answer := z.send(b, http.MethodPost, "/service_template", twoRoles)
	if status != http.StatusCreated {
		b.Fatalf("the template is refused: %d %s", status, answer)
	}
	return "/service_template/" + idOf(answer) + "/action"
}

// live takes one service from its instantiation to its end.
func (z *zone) live(b *testing.B, path string) {
	b.Helper()
	status, answer := z.send(b, http.MethodPost, path, instantiate)
	if status != http.StatusCreated {
		b.Errorf("instantiate: %d %s", status, answer)
		return
	}
	service := "/service/" + idOf(answer)
	poll.Until(b, service+" to run", func() bool {
		var document struct {
			Document struct {
				Template struct {
					Body struct{ State spec.ServiceState }
				}
			}
		}
		status, answer := z.send(b, http.MethodGet, service, "")
		return status == http.StatusOK && json.Unmarshal([]byte(answer), &document) == nil && document.Document.Template.Body.State == spec.ServiceRunning
	})
	if status, answer := z.send(b, http.MethodDelete, service, ""); status != http.StatusNoContent && status != http.StatusAccepted {
		b.Errorf("delete %s: %d %s", service, status, answer)
	}
	poll.Until(b, service+" to be gone", func() bool {
		status, _ := z.send(b, http.MethodGet, service, "")
		return status == http.StatusNotFound
	})
}

// holdings waits for rest and counts.
func (z *zone) holdings(b *testing.B) (h holdings) {
	b.Helper()
	z.settle(b)
	h.memory, _ = z.flowjet.memory(b)
	h.threads, h.open = entries(b, z.flowjet.file("task")), entries(b, z.flowjet.file("fd"))
	folder := z.common[1]
	must(b, filepath.WalkDir(filepath.Join(folder, "jetstream"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(entry.Name()) != ".blk" { // messages, which are kept for a time
			h.files++
		}
		return nil
	}))
	js := z.pipe.JetStream()
	streams := js.ListStreams(b.Context())
	for info := range streams.Info() {
		h.consumers += info.State.Consumers
	}
	must(b, streams.Err())
	h.timers = z.subjects(b, pipeline.StreamWork, pipeline.SubjectsTimer)
	owners, err := js.KeyValue(b.Context(), pipeline.BucketOwners)
	must(b, err)
	kept, err := owners.ListKeys(b.Context())
	must(b, err)
	for range kept.Keys() {
		h.keys++
	}
	must(b, work.NewRecords(z.pipe).EachRecord(b.Context(), func(_ int, record pipeline.Record) {
		if !record.Deleted {
			h.keys++
		}
	}))
	return h
}

// subjects counts the subjects of a stream that match.
func (z *zone) subjects(b *testing.B, stream, filter string) int {
	b.Helper()
	found, err := z.pipe.JetStream().Stream(b.Context(), stream)
	must(b, err)
	info, err := found.Info(b.Context(), jetstream.WithSubjectFilter(filter))
	must(b, err)
	return len(info.State.Subjects)
}

func entries(b *testing.B, folder string) int {
	b.Helper()
	found, err := os.ReadDir(folder)
	must(b, err)
	return len(found)
}
