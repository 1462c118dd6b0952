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

// livesVariable is how many services live in a wave, of which there are livesWaves: 2,500
// are a week's of a zone that makes one each minute.
const (
	livesVariable = "FLOWJET_BENCH_LIVES"
	livesWaves    = 4
	lasting       = 1000
)

// holdings is what Flowjet holds when no service is left.
type holdings struct {
	memory                                        int64
	threads, files, consumers, timers, keys, open int
}

// BenchmarkLives has service after service made, run and removed, and compares what
// Flowjet holds after the first wave with what it holds at the end: records of ended
// services and history, which are kept for a time, are counted apart.
func BenchmarkLives(b *testing.B) {
	wave, err := strconv.Atoi(os.Getenv(livesVariable))
	if err != nil || wave < 1 {
		wave = 60
	}
	for b.Loop() {
		z := newZone(b, size{roles: 1})
		z.startFlowjet(b)
		path := z.liveTemplate(b)
		var first holdings
		began := time.Now()
		for n := range livesWaves {
			share(wave, func(int) { z.live(b, path) })
			if n == 0 {
				first = z.holdings(b)
			}
		}
		last := z.holdings(b)
		took := time.Since(began)
		fmt.Printf("%d services lived and ended in %s, %d a second\n", wave*livesWaves, took.Round(time.Second), int(float64(wave*livesWaves)/took.Seconds()))
		growth := float64(last.memory) / float64(first.memory)
		row("memory after the first and the last wave", fmt.Sprintf("%d, %d MiB", first.memory>>20, last.memory>>20), "< x 1.5")
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
				b.Errorf("%s: %d after %d lives, %d after %d", one.what, one.last, wave*livesWaves, one.first, wave)
			}
		}
		if growth > 1.5 && wave >= lasting { // a few lives may be before the first collections of garbage
			b.Errorf("memory has grown by a factor of %.2f", growth)
		}
		b.ReportMetric(growth, "x-memory")
		b.ReportMetric(0, "ns/op")
		z.stopFlowjet()
		z.sim.stop()
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
