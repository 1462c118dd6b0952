package operate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// deadLettered puts a message for a service to the dead letters and returns its number.
func (d *desk) deadLettered(letter pipeline.DeadLetter) string {
	d.t.Helper()
	letter.Where = "worker"
	if letter.Reason == "" {
		letter.Reason = "it is no JSON"
	}
	d.must(d.pipe.DeadLetter(d.t.Context(), letter))
	letters, err := d.pipe.DeadLetters(d.t.Context(), 1)
	d.must(err)
	return fmt.Sprint(letters[0].Sequence)
}

// forService is a wake-up of a service that was given up.
func forService(id int) pipeline.DeadLetter {
	return pipeline.DeadLetter{
		Origin: pipeline.WorkSubject(id), Data: pipeline.Encode(pipeline.Work{Version: 1, Service: id, Reason: "a test"}),
		Header: nats.Header{"Flowjet-Trace": {"00-1-2-01"}},
	}
}

// waiting is how many wake-ups of a service wait.
func (d *desk) waiting(id int) uint64 {
	d.t.Helper()
	why, err := d.pipe.Why(d.t.Context(), id, nil)
	d.must(err)
	return why.Backlog.Count
}

// A dead letter that is sent again wakes its service, with the headers that it had, and is gone.
func TestADeadLetterIsSentAgain(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	number, other := d.deadLettered(forService(3)), d.deadLettered(forService(3))
	before := d.waiting(3)
	if out := d.shows("dlq retry " + number); out != "dead letter "+number+": sent again\n" {
		t.Errorf("it says %q", out)
	}
	if now := d.waiting(3); now != before+1 {
		t.Errorf("%d wake-ups wait, before there were %d", now, before)
	}
	if left := d.shows("dlq ls -o name"); left != other+"\n" {
		t.Errorf("left are %q", left)
	}
	d.refuses(terminal.ExitNotFound, "dlq retry "+number) // it is gone, and nothing is sent twice
	if now := d.waiting(3); now != before+1 {
		t.Errorf("%d wake-ups wait after a second try", now)
	}
}

// What cannot be sent again stays, the others go, and the command fails so that a script notices.
func TestSomeDeadLettersCannotBeSentAgain(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	good := d.deadLettered(forService(3))
	torn := d.deadLettered(pipeline.DeadLetter{Data: []byte("{")})
	long := d.deadLettered(pipeline.DeadLetter{Origin: pipeline.WorkSubject(3), Data: []byte(strings.Repeat("x", 300<<10))}) // what is kept of it is not all
	out, err := d.run("dlq", "retry", "--all", "-o", "json")
	if err == nil || ExitOf(err) != terminal.ExitFailed || err.Error() != "2 of 3 dead letters could not be sent again" {
		t.Errorf("it ends with %v", err)
	}
	var outcomes []outcome
	d.must(json.Unmarshal([]byte(out), &outcomes))
	for i, want := range []bool{true, false, false} {
		if outcomes[i].Done != want || (outcomes[i].Error == "") != want {
			t.Errorf("outcome %d is %+v", i, outcomes[i])
		}
	}
	if left := d.shows("dlq ls -o name"); left != torn+"\n"+long+"\n" {
		t.Errorf("left are %q", left)
	}
	d.shows("dlq show "+torn, "it cannot be sent again", "dlq drop "+torn)
	d.shows("dlq show "+long, "it cannot be sent again")
	d.shows("dlq drop "+torn+" "+long, torn+": dropped", long+": dropped")
	d.refuses(terminal.ExitNotFound, "dlq show "+good)
}

// A wrong number among right ones changes nothing.
func TestDeadLettersAreChangedOnlyWhenAllAreThere(t *testing.T) {
	d := newDesk(t)
	number := d.deadLettered(forService(3))
	d.refuses(terminal.ExitNotFound, "dlq drop "+number+" 999")
	d.refuses(terminal.ExitUsage, "dlq drop "+number+" first")
	for _, line := range []string{"dlq drop", "dlq retry", "dlq drop --all 1", "dlq retry --all 1", "dlq drop 0", "dlq show -- -1"} {
		d.refuses(terminal.ExitUsage, line)
	}
	if left := d.shows("dlq ls -o name"); left != number+"\n" {
		t.Errorf("left are %q", left)
	}
	d.shows("dlq drop --all", "dropped")
	if out := d.shows("dlq drop --all"); out != "There are no dead letters.\n" {
		t.Errorf("without any it says %q", out)
	}
	if out := d.shows("dlq retry --all -o json"); out != "[]\n" {
		t.Errorf("for scripts it says %q", out)
	}
}

// Dead letters are found by their service, whether the message or its subject names it.
func TestDeadLettersOfAService(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	byData, bySubject := d.deadLettered(forService(3)), d.deadLettered(pipeline.DeadLetter{Origin: pipeline.WorkSubject(3), Data: []byte("{")})
	d.deadLettered(pipeline.DeadLetter{Data: []byte("of nobody")})
	if found := d.shows("dlq ls --service 3 -o name"); found != byData+"\n"+bySubject+"\n" {
		t.Errorf("of service 3 are %q", found)
	}
	if found := d.shows("dlq ls --service 4"); found != "There are no dead letters.\n" {
		t.Errorf("of service 4: %q", found)
	}
	d.refuses(terminal.ExitNotFound, "dlq ls --service 5")
	d.refuses(terminal.ExitUsage, "dlq ls --service shop")
	var listed []map[string]any
	d.must(json.Unmarshal([]byte(d.shows("dlq ls -o json")), &listed))
	if len(listed) != 3 || listed[0]["service"] != 3.0 || listed[0]["retry"] != true || listed[2]["service"] != -1.0 || listed[2]["retry"] != false || listed[0]["data"] != nil {
		t.Errorf("listed are %v", listed)
	}
	var shown map[string]any
	d.must(json.Unmarshal([]byte(d.shows("dlq show "+bySubject+" -o json")), &shown))
	if shown["data"] != "{" || shown["origin"] != pipeline.WorkSubject(3) || shown["reason"] != "it is no JSON" {
		t.Errorf("shown is %v", shown)
	}
}

// A long reason is cut in a table and whole where all is asked for.
func TestALongReasonOfADeadLetter(t *testing.T) {
	d := newDesk(t)
	reason := "message 7 cannot be read: " + strings.Repeat("é", 200) + " at 2026-11-28T11:59:00Z"
	letter := forService(3)
	letter.Reason, letter.Time = reason, time.Now()
	number := d.deadLettered(letter)
	if out := d.shows("dlq ls"); strings.Contains(out, strings.Repeat("é", 100)) || !strings.Contains(out, "…") {
		t.Errorf("the table has %s", out)
	}
	d.shows("dlq ls -o wide", strings.Repeat("é", 200))
	if out := d.shows("dlq show "+number, strings.Repeat("é", 200)); strings.Contains(out, "11:59:00Z") {
		t.Errorf("a time is not in the form of all others: %s", out)
	}
}
