package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

const (
	fine    = "ok"
	warning = "warning"
	problem = "problem"
)

type finding struct {
	Check   string `json:"check"` // what was checked; Weight is ok, warning or problem
	Weight  string `json:"weight"`
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"` // what to do; empty if nothing
}

type diagnosis struct {
	findings []finding
	now      time.Time
	refusing bool // JetStream does not answer: changes are refused
}

func (d *diagnosis) add(check, weight, mend, format string, arguments ...any) {
	d.findings = append(d.findings, finding{check, weight, fmt.Sprintf(format, arguments...), mend})
}

func doctorCommand(t tool) *cobra.Command {
	cmd := terminal.Command("doctor", "Diagnose problems and suggest fixes",
		"It checks NATS, its streams, the workers, bridges, feeds, cursors, services, timers, dead letters and webhooks, oned and\n"+
			"the OneFlow API, clocks and disks. The exit status is 0 without a problem (there may be warnings), else 6.",
		"flowjet doctor\nflowjet doctor -o json", cobra.NoArgs)
	t.addFlags(cmd)
	format := terminal.AddFormat(cmd, terminal.ShowFormats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		around, err := t.environmentOf(cmd)
		if err != nil {
			return err
		}
		ctx, d := cmd.Context(), diagnosis{now: time.Now()}
		if around.Oned != nil {
			around.Oned = soon(ctx, around.Oned)
		}
		d.checkNATS(ctx, around)
		d.checkOned(ctx, around)
		d.checkAPI(ctx, around)
		d.checkDisk(around.DataDir)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return writeDiagnosis(terminal.New(cmd.OutOrStdout(), *format), d.findings)
	}
	return cmd
}

// soon asks while NATS is checked, and returns what waits for the answer: if neither answers, doctor waits for one of them.
func soon(ctx context.Context, ask func(context.Context) error) func(context.Context) error {
	answered := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, connectWithin)
		defer cancel()
		answered <- ask(ctx)
	}()
	return func(context.Context) error { return <-answered }
}

func (d *diagnosis) checkNATS(ctx context.Context, around Environment) {
	ctx, probe := unlessAway(ctx, around.Servers)
	defer probe.Stop()
	connecting, cancel := context.WithTimeout(ctx, electWithin)
	defer cancel()
	attached, missing, err := around.Attach(connecting)
	if err != nil {
		d.silent(ctx, around.Servers, mendNATS(err), err.Error())
		return
	}
	defer attached.Close()
	pipe := newClients(attached)
	overview, err := settled(ctx, pipe, missing, probe)
	if d.refusing = err != nil; d.refusing {
		d.silent(ctx, around.Servers, "check that JetStream is enabled and has a leader (`nats server report jetstream`), and that most of its servers can write to their disks; if another server answers (--nats-url), this one is cut off from the others", err.Error())
		d.checkDisks(overview, around.DataDir)
		return
	}
	d.now = time.Now() // the checks took some time
	d.add("NATS", fine, "", "connected to %s", overview.Server)
	d.checkServers(overview)
	d.checkDisks(overview, around.DataDir)
	d.checkStreams(overview)
	d.checkMembers(overview)
	d.checkWorkers(overview)
	d.checkReads(overview.Oned)
	d.checkFeeds(ctx, pipe, overview)
	d.checkReaders(overview)
	d.checkTimers(overview)
	if len(missing) > 0 {
		return
	}
	d.checkDamage(ctx, pipe)
	d.checkLost(ctx, pipe)
	d.checkServices(ctx, pipe)
	d.checkLeftVMs(ctx, pipe)
	d.checkDeadLetters(overview)
	d.checkWebhooks(ctx, pipe)
	d.checkClock(ctx, pipe)
	d.checkStorage(ctx, pipe)
}

// silent adds that NATS does not answer, and why: most of its servers are away, or the reason.
func (d *diagnosis) silent(ctx context.Context, servers []string, mend, reason string) {
	away := context.Cause(ctx) // unlessAway has asked already
	if away == nil {
		away = mostAway(ctx, servers)
	}
	if away != nil {
		d.refusing, reason = true, away.Error()
		mend = "start them on their hosts (`systemctl start flowjet-nats`), or check the network to them: more than half of all are needed"
	}
	d.add("NATS", problem, mend, "%s", reason)
}

// unlessAway returns a context that ends in three seconds if most of the servers are away then: an answer need not be waited for. With
// the first one the timer is to be stopped; the context lives as long as ctx. It does not try at once, as servers with TLS log the attempt.
func unlessAway(ctx context.Context, servers []string) (context.Context, *time.Timer) {
	ctx, stop := context.WithCancelCause(ctx)
	return ctx, time.AfterFunc(3*time.Second, func() {
		if away := mostAway(ctx, servers); away != nil {
			stop(fmt.Errorf("JetStream does not answer: %w", away))
		}
	})
}

// mostAway names those servers of a NATS cluster that accept no connection, if they are so many that the others store nothing.
func mostAway(ctx context.Context, servers []string) error {
	away := slices.DeleteFunc(slices.Clone(servers), func(server string) bool {
		at, err := url.Parse("//" + server[strings.LastIndex("://"+server, "://"):]) // it may have no scheme and no port
		if err != nil {
			return false
		}
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), "4222")))
		return err == nil && conn.Close() == nil
	})
	if len(servers) < 2 || 2*len(away) < len(servers) {
		return nil
	}
	return terminal.ExitUnreachable.Because(fmt.Errorf("%d of %d servers do not answer: %s", len(away), len(servers), few(away)))
}

// electWithin is how long doctor waits for NATS: streams whose leader was killed have a new one within 8 s, and a passing
// failover is no finding.
const electWithin = 15 * time.Second

const (
	// settleChecks is how often doctor checks before it reports trouble that may be passing, such as the failover from a
	// process that has died, and settlePause the pause between checks.
	settleChecks = 4
	settlePause  = 1500 * time.Millisecond
)

// settled returns an overview in which trouble has lasted for several checks. With the first one the probe is not needed any more.
func settled(ctx context.Context, pipe clients, missing []string, probe *time.Timer) (overview inspect.Overview, err error) {
	began := time.Now()
	ended := lasting(ctx, func() bool {
		if overview, err = pipe.Overview(ctx, missing); err == nil {
			probe.Stop()
		}
		return (err != nil || unsettled(overview)) && time.Since(began) < electWithin-time.Second // longer without an answer is no failover
	})
	return overview, cmp.Or(ended, err)
}

// lasting repeats a check while it finds trouble, up to settleChecks times. It returns ctx's error if ctx ended before.
func lasting(ctx context.Context, wrong func() bool) error {
	for check := 1; wrong() && check < settleChecks; check++ {
		if err := idle.For(ctx, settlePause); err != nil {
			return err
		}
	}
	return nil
}

// unsettled reports whether there is trouble that ends within seconds: a take-over, an election, a NATS server that is back without data, or behind. What is away has been silent for longer already.
func unsettled(overview inspect.Overview) bool {
	return len(overview.Workers) == 0 || len(overview.Feeds) == 0 ||
		slices.ContainsFunc(overview.Feeds, func(feed inspect.FeedStatus) bool { return !feed.Alive }) ||
		slices.ContainsFunc(overview.Streams, func(stream inspect.StreamStatus) bool { return stream.Leaderless || len(stream.Behind) > 0 })
}

// mendNATS returns advice, as far as the error permits any.
func mendNATS(err error) string {
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "permission denied"): // of the file with the key
		return "run it as the owner of the data folder, or with an operator's key or credentials: --nats-nkey-file"
	case strings.Contains(text, "authorization"), strings.Contains(text, "permissions"):
		return "use the operator's key or credentials: --nats-nkey-file"
	case strings.Contains(text, "certificate"), strings.Contains(text, "tls"):
		return "set the servers' certificate authority with --nats-ca-file"
	case strings.Contains(text, "jetstream not enabled"):
		return "enable JetStream on the server and for the account"
	}
	return "start it (`flowjet up`, or your NATS cluster), or set its servers with --nats-url"
}

// writeDiagnosis writes the findings, and returns an error if there is a problem.
func writeDiagnosis(c *terminal.Console, findings []finding) error {
	problems := 0
	for _, found := range findings {
		if found.Weight == problem {
			problems++
		}
	}
	err := c.Present(findings, func() {
		for _, found := range findings {
			c.Say("%s%s %s: %s", c.State(found.Weight), strings.Repeat(" ", len(warning)-len(found.Weight)), found.Check, terminal.Printable(found.Message))
			if found.Mend != "" {
				c.Say("        %s", c.Paint("1", "fix: ")+found.Mend)
			}
		}
	})
	if err == nil && problems > 0 {
		err = terminal.ExitTrouble.Because(fmt.Errorf("doctor found problems: %d of %d checks", problems, len(findings)))
	}
	return err
}

func (d *diagnosis) checkOned(ctx context.Context, around Environment) {
	if around.Oned == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if err := around.Oned(asking); err != nil {
		mend := "start oned, or set its endpoint with --one-xmlrpc"
		if errors.Is(err, context.DeadlineExceeded) {
			mend = "start oned; if it runs, other clients may hold all its connections: `ss -tan 'sport = :2633'` on its host lists them"
		}
		if strings.Contains(err.Error(), "--zone") {
			mend = "set --zone here and for all of Flowjet; data that were stored for another zone need a folder or NATS account of their own"
		}
		if strings.Contains(err.Error(), "auth") || strings.Contains(err.Error(), "refuses") {
			mend = "put serveradmin's name and password into the file of --one-auth-file, readable by you"
		}
		if strings.Contains(err.Error(), "refuses") { // which keeps workers from oned and makes reads slow: the cause is named once
			mend += ", and restart Flowjet's units, which get a copy of it when they start"
			d.findings = slices.DeleteFunc(d.findings, func(f finding) bool {
				return f.Check == "oned" || f.Check == "workers" && strings.Contains(f.Message, "reach oned")
			})
		}
		d.add("oned", problem, mend, "%v", err)
		return
	}
	d.add("oned", fine, "", "%s answers and accepts the server user", around.OnedAt)
	d.checkDocuments(ctx, around)
	if around.OnedTime == nil {
		return
	}
	before := time.Now()
	if theirs, err := around.OnedTime(asking); err == nil {
		d.compareClocks("oned's clock", theirs, before, time.Now(), 2*time.Second)
	}
}

// checkDocuments names the services that workers leave unchanged because their documents cannot be read.
func (d *diagnosis) checkDocuments(ctx context.Context, around Environment) {
	if around.Unreadable == nil {
		return
	}
	switch unreadable, err := around.Unreadable(ctx); {
	case err != nil:
		d.add("documents", warning, "", "those of the services cannot be read from oned: %v", err)
	case len(unreadable) > 0:
		d.add("documents", problem, "`flowjet service why ID` says what is wrong; correct the document at oned, or have `oneflow recover ID` write it as Flowjet has it",
			"%d services are left unchanged because their documents at oned cannot be read: %s", len(unreadable), few(unreadable))
	}
}

func (d *diagnosis) checkAPI(ctx context.Context, around Environment) {
	if around.API == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	reasons, err := around.API(asking)
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		d.add("API", warning, "start it (`flowjet api`), or set its address with --api-listen; on a host without an API this is normal", "%v", err)
	case len(reasons) > 0:
		d.add("API", problem, "fix the other problems first; it then serves requests again", "%s is not ready: %s", around.APIAt, strings.Join(reasons, "; "))
	case d.refusing:
		d.add("API", warning, "fix NATS first", "%s answers reads only: it refuses changes while NATS does not answer", around.APIAt)
	default:
		d.add("API", fine, "", "%s is ready", around.APIAt)
	}
}

// compareClocks reports a clock that is off. Theirs may be cut to whole seconds; if the answer took long, it is not known when between
// the two times here it was written.
func (d *diagnosis) compareClocks(check string, theirs, before, after time.Time, most time.Duration) {
	skew := max(before.Sub(theirs), min(0, after.Sub(theirs))).Round(time.Millisecond)
	if skew.Abs() <= most {
		d.add(check, fine, "", "the same as this host's")
		return
	}
	d.add(check, problem, "synchronise both with NTP (`timedatectl`): timers, sessions and cooldowns depend on the clock", "it is %s off this host's", skew)
}

func (d *diagnosis) checkClock(ctx context.Context, pipe clients) {
	before := time.Now()
	theirs, err := pipe.ServerTime(ctx)
	if err != nil || theirs.IsZero() {
		return
	}
	d.compareClocks("NATS's clock", theirs, before, time.Now(), time.Second)
}

var digits = regexp.MustCompile(`\d+`)

// few returns the first of them, in order, 9 before 10, and how many more there are.
func few[T any](all []T) string {
	key := func(each T) string {
		return digits.ReplaceAllStringFunc(fmt.Sprint(each), func(number string) string { return fmt.Sprintf("%20s", number) })
	}
	var texts []string
	for _, each := range slices.SortedFunc(slices.Values(all), func(a, b T) int { return strings.Compare(key(a), key(b)) })[:min(len(all), 5)] {
		texts = append(texts, fmt.Sprint(each))
	}
	if more := len(all) - len(texts); more > 0 {
		texts[len(texts)-1] += fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(texts, ", ")
}
