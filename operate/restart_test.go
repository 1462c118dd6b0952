package operate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

// newDeskOn is a desk on a NATS server that can be stopped and started again.
func newDeskOn(t *testing.T, node *natstest.Node) *desk {
	t.Helper()
	d := &desk{t: t, url: node.URL()}
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: d.url})
	d.must(err)
	t.Cleanup(pipe.Close)
	d.pipe = newClients(pipe)
	return d
}

// restart has the NATS server gone until the desk has noticed it.
func (d *desk) restart(node *natstest.Node) {
	d.t.Helper()
	node.Stop()
	poll.Until(d.t, "the loss of NATS", func() bool { return !d.pipe.State().Connected })
	node.Start()
	poll.Until(d.t, "NATS", func() bool { return d.pipe.State().Connected })
}

// What goes on goes on through a restart of NATS: nothing is told twice, and nothing is missed.
func TestFollowingThroughARestartOfNATS(t *testing.T) {
	t.Parallel()
	node := natstest.NewNode(t)
	d := newDeskOn(t, node)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	events, watch := d.begins("events -f"), d.begins("service watch 3 --until WARNING")
	events.writes("PENDING -> RUNNING")
	watch.writes("Service 3")
	d.turns(3, 2, "RUNNING", "SCALING")
	events.writes("RUNNING -> SCALING")
	watch.writes("RUNNING -> SCALING")
	d.restart(node)
	d.turns(3, 3, "SCALING", "COOLDOWN")
	events.writes("SCALING -> COOLDOWN")
	d.restart(node)
	d.turns(3, 4, "COOLDOWN", "WARNING")
	events.writes("COOLDOWN -> WARNING")
	if err := <-watch.ended; err != nil {
		t.Errorf("watching ends with %v: %s", err, watch.out)
	}
	events.stop()
	if err := <-events.ended; err != nil {
		t.Errorf("Ctrl-C ends following with %v", err)
	}
	for name, out := range map[string]string{"events": events.out.String(), "watch": watch.out.String()} {
		for _, once := range []string{"RUNNING -> SCALING", "SCALING -> COOLDOWN", "COOLDOWN -> WARNING"} {
			if strings.Count(out, once) != 1 {
				t.Errorf("%s tells %d times of %s:\n%s", name, strings.Count(out, once), once, out)
			}
		}
	}
}

// A time that is over ends watching also while NATS is away, with the status of a limit and not of a lost server.
func TestWatchingEndsInTimeWithoutNATS(t *testing.T) {
	t.Parallel()
	node := natstest.NewNode(t)
	d := newDeskOn(t, node)
	d.keep(3, "shop", "alice", spec.ServiceDeploying)
	watch := d.begins("service watch 3 --until RUNNING --timeout 2s")
	watch.writes("Service 3")
	node.Stop()
	if err := <-watch.ended; ExitOf(err) != terminal.ExitTimeout || !strings.Contains(err.Error(), "did not reach RUNNING within 2s") {
		t.Errorf("it ends with %v, exit %d", err, ExitOf(err))
	}
	d.refuses(terminal.ExitUnreachable, "service watch 3")
	node.Start()
}

// Which of what has happened is listed: the last ones of all streams together, in the order of time.
func TestTheLastEventsOfAllStreams(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning, 21)
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	number := uint64(2)
	for range 60 { // more than are listed unless it is said
		d.turns(3, number, "RUNNING", "SCALING")
		number++
	}
	d.deadLettered(forService(3))
	d.deadLettered(forService(4))
	d.must(d.pipe.QueueDeliveries(t.Context(), deliveries.Queued{Subject: pipeline.HookSubject("ops", 3), Delivery: pipeline.Delivery{ID: "3-9", Service: 3}})[0])
	d.turns(3, number, "SCALING", "COOLDOWN")
	for line, want := range map[string]int{
		"events":                          50,
		"events -n 0":                     63,
		"events -n 7":                     7,
		"events -n 0 --since 1h":          63,
		"events --since 1h":               63,
		"events --since 1h -n 5":          5,
		"events -n 0 --service 3":         62,
		"events -n 0 --service 4":         1,
		"events -n 0 --with dead-letters": 65,
		"events -n 0 --with dead-letters,webhooks,opennebula":  66,
		"events -n 0 --service 3 --with dead-letters,webhooks": 64,
		"events -n 0 --service 4 --with dead-letters,webhooks": 2,
		"events -n 0 --kind vm,role":                           1, // the sentence that there are none
		"events -n 0 --kind vm,service":                        63,
		"events -n 0 --with webhooks,webhooks":                 64, // named twice is told once
	} {
		if out := d.shows(line); strings.Count(out, "\n") != want {
			t.Errorf("%s lists %d lines, want %d:\n%s", line, strings.Count(out, "\n"), want, out)
		}
	}
	lines := strings.Split(strings.TrimSpace(d.shows("events -n 4 --with dead-letters,webhooks")), "\n")
	for i, want := range []string{"dead_letter: number 1, from worker: it is no JSON", "dead_letter: number 2", "webhook: 3-9 waits for a receiver that the service names", "SCALING -> COOLDOWN"} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d of %q lacks %q", i, lines, want)
		}
	}
}

// Top without a terminal prints once: what is not RUNNING, and the last transitions and no more.
func TestTopPrintsOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if out := d.shows("top", "Every service is RUNNING."); strings.Contains(out, "CAUSE") {
		t.Errorf("nothing has happened yet: %s", out)
	}
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.shows("top", "Every service is RUNNING.", "CAUSE")
	d.keep(4, "mail", "bob", spec.ServiceFailedDeploying)
	for i := range topEvents {
		d.must(d.pipe.PublishTransitions(t.Context(), []pipeline.Transition{{
			Service: 4, Change: flow.Change{Kind: "role", Role: fmt.Sprintf("role%02d", i), New: "RUNNING"}, Cause: pipeline.Cause{Kind: "timer", ID: flow.DeadlineStay}, Time: time.Now().UTC(),
		}}, uint64(i+2)))
	}
	out := d.shows("top", "Flowjet on "+d.url, "1 FAILED_DEPLOYING, 1 RUNNING", "2 set, 0 overdue", "mail", "role00", fmt.Sprintf("role%02d", topEvents-1), "a deadline passed")
	if strings.Contains(out, "shop") || strings.Contains(out, "PENDING -> ") || strings.Contains(out, "\n\n\n") || strings.Contains(out, "\x1b") {
		t.Errorf("it has what is well, more than the last transitions, gaps or colours:\n%s", out)
	}
	for _, interval := range []string{"99ms", "0", "-1s"} {
		d.refuses(terminal.ExitUsage, "top --interval "+interval)
	}
	d.must(d.pipe.JetStream().DeleteStream(t.Context(), pipeline.StreamOf(pipeline.BucketState)))
	d.refuses(terminal.ExitNotFound, "top")
}

// A dead letter that is named twice is sent once.
func TestADeadLetterThatIsNamedTwice(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	number := d.deadLettered(forService(3))
	before := d.waiting(3)
	d.shows("dlq retry " + number + " " + number)
	if now := d.waiting(3); now != before+1 {
		t.Errorf("%d wake-ups wait, before there were %d", now, before)
	}
	d.shows("dlq ls", "There are no dead letters.")
}

// What is no JSON is shown as it came, but for what a terminal would obey; what is, in one line.
func TestTheMessageOfADeadLetter(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for data, want := range map[string]string{
		"{\n  \"service\": 3,\n  \"reason\": \"a  b\"\n}": "\n{\"service\":3,\"reason\":\"a  b\"}\n",
		"<VM>\x1b[2J</VM>": "\n<VM>\uFFFD[2J</VM>\n",
		"":                 "subject      flow.work.3\n",
		"\xff\xfe":         "\n\uFFFD\uFFFD\n",
	} {
		number := d.deadLettered(pipeline.DeadLetter{Origin: pipeline.WorkSubject(3), Data: []byte(data)})
		d.shows("dlq show "+number, want, "reason       it is no JSON\n", "flowjet dlq retry "+number)
		d.shows("dlq drop " + number)
	}
}
