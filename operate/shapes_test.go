package operate

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// fields are the names of the fields of an object, or of the first one of an array or of several lines, in order.
func fields(t *testing.T, text string) string {
	t.Helper()
	text = strings.TrimLeft(text, "[\n ")
	var object map[string]json.RawMessage
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&object); err != nil {
		t.Errorf("%v in %s", err, text)
	}
	return strings.Join(slices.Sorted(maps.Keys(object)), " ")
}

// Scripts rely on the fields that docs/operate.md and docs/inspect.md list for -o json: none is renamed or left out, and none comes without a word there.
func TestWhatScriptsRelyOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.around = well()
	d.keep(3, "shop", "alice", spec.ServiceRunning, 11)
	number, other := d.deadLettered(forService(3)), d.deadLettered(forService(3))
	_, _ = d.pipe.SubmitCommand(t.Context(), flow.Command{ID: "A", Verb: flow.VerbScale, Service: 3}, time.Millisecond) // no worker answers
	for _, test := range []struct{ line, want string }{
		{"service records", "id name owner roles since state vms wanted"},
		{"service record 3", "applied outbox state timers v"},
		{"service why 3", "backlog cause dead_letters failed name next notes oned_away owner path roles service since state summary timers v waits"},
		{"service look 3", "asked service"},
		{"service watch 3 --until RUNNING", ""}, // it is there: nothing happens
		{"events", "cause kind new old service time v"},
		{"events --kind role --with dead-letters", "dead_letter kind service time"},
		{"commands", "id queued service state uid v verb"},
		{"dlq ls", "origin reason retry sequence service time where"},
		{"dlq show " + number, "data origin reason retry sequence service time where"},
		{"dlq retry " + number, "done sequence"},
		{"dlq drop " + other, "done sequence"},
		{"status", "dead_letters disks feeds members missing oned readers server servers services streams time timers unowned v webhooks workers"},
	} {
		out := d.shows(test.line + " -o json")
		if test.want == "" {
			if out != "" {
				t.Errorf("%s writes %s", test.line, out)
			}
			continue
		}
		if got := fields(t, out); got != test.want {
			t.Errorf("%s has the fields\n%s\nwant\n%s", test.line, got, test.want)
		}
	}
	long := d.deadLettered(pipeline.DeadLetter{Origin: pipeline.WorkSubject(3), Data: []byte(strings.Repeat("x", 300<<10))}) // only a part of it is kept
	out, err := d.run("dlq", "retry", long, "-o", "json")
	if got := fields(t, out); err == nil || got != "done error sequence" {
		t.Errorf("a retry that fails ends with %v and the fields %s", err, got)
	}
	out, err = d.run("doctor", "-o", "json")
	if got := fields(t, out); ExitOf(err) != terminal.ExitTrouble || got != "check message weight" {
		t.Errorf("doctor ends with %v and the fields %s", err, got)
	}
}

// A format that a command does not have is refused with those that it has, and -o is never passed over.
func TestFormatsThatThereAreNot(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	for _, line := range []string{
		"service records -o xml", "service record 3 -o wide", "service why 3 -o name", "events -o csv", "dlq show 1 -o wide", "commands -o JSON", "status -o name", "doctor -o wide", "dlq drop 1 -o name",
	} {
		out, err := d.run(strings.Fields(line)...)
		if err == nil || out != "" || !strings.Contains(err.Error(), "json") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if out, err := d.run("top", "-o", "json"); err == nil {
		t.Errorf("top has a format: %s", out)
	}
}

// Doctor for people: a line for each check, aligned, with what mends it below, and the number of problems as the error.
func TestDoctorForPeople(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.around = well()
	d.around.API = reasons("oned does not answer")
	d.keep(4, "mail", "bob", spec.ServiceFailedDeploying)
	out, err := d.run("doctor")
	for _, want := range []string{
		"ok      NATS: connected to " + d.url + "\n",
		"problem workers: none is running: services make no progress, commands stay queued\n        fix: start one: `flowjet worker`, or `flowjet up`\n",
		"problem bridges: none has ever published: no events of OpenNebula are received\n        fix: start one: `flowjet bridge`, or `flowjet up`\n",
		"warning services: 1 of 1 need attention: 4 (FAILED_DEPLOYING)\n        fix: `flowjet service why ID` shows what failed and what to do\n",
		"problem API: http://127.0.0.1:2474 is not ready: oned does not answer\n        fix: fix the other problems first",
		"ok      oned: http://oned:2633/RPC2 answers and accepts the server user\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	checks := strings.Count(out, "\n") - strings.Count(out, "\n        fix: ")
	if want := "doctor found problems: 3 of "; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), " checks") || checks < 8 {
		t.Errorf("of %d checks it ends with %v", checks, err)
	}
}

// A configuration that cannot be read is the command line's error, before anything is asked; Ctrl-C is no diagnosis.
func TestDoctorThatCannotLook(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	wrong := terminal.ExitUsage.Because(errors.New("zone must be a number"))
	d.unfit = wrong
	if out, err := d.run("doctor"); !errors.Is(err, wrong) || out != "" {
		t.Errorf("it ends with %v and writes %q", err, out)
	}
	d.unfit = nil
	doctor := d.begins("doctor")
	doctor.stop()
	if err := <-doctor.ended; err == nil || doctor.out.String() != "" {
		t.Errorf("Ctrl-C ends it with %v: %s", err, doctor.out)
	}
}

// Data of another zone is the first thing to know: everything in it would be taken for this zone's.
func TestDoctorOfAnotherZonesData(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	other, _, err := pipeline.Attach(t.Context(), pipeline.Config{URL: d.url, Zone: 7})
	d.must(err)
	t.Cleanup(other.Close)
	found := diagnosis{now: time.Now()}
	found.checkDamage(t.Context(), newClients(other))
	if got := strings.Join(wrongOf(found.findings), ", "); got != "problem zone" || !strings.Contains(found.said(), "it belongs to zone 0, but --zone is 7") {
		t.Errorf("found %s: %s", got, found.said())
	}
}

// What happened to data long ago is told no more, and a mark that cannot be checked is told as that.
func TestDoctorForgetsOldDamage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.must(d.pipe.NoteMismatch(t.Context(), "VM 21 is another"))
	for after, want := range map[time.Duration]string{0: "warning data", mismatchFor - time.Hour: "warning data", mismatchFor + time.Hour: ""} {
		found := diagnosis{now: time.Now().Add(after)}
		found.checkDamage(t.Context(), d.pipe)
		if got := strings.Join(wrongOf(found.findings), ", "); got != want {
			t.Errorf("after %s it finds %q", after, got)
		}
	}
	d.must(d.pipe.JetStream().DeleteStream(t.Context(), pipeline.StreamOf(pipeline.BucketCheckpoint)))
	found := diagnosis{now: time.Now()}
	found.checkDamage(t.Context(), d.pipe)
	if got := strings.Join(wrongOf(found.findings), ", "); got != "problem damage, problem data, problem zone" {
		t.Errorf("without its checkpoints it finds %q: %s", got, found.said())
	}
}
