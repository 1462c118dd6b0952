package operate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	slowAfter        = 30 * time.Second // how long a message may wait before it counts as stuck
	resyncsRead      = 5000             // how many of the last events are searched for lost ones
	resyncsTolerated = 100              // how many of these a comparison may have found: a bridge's start finds some
	leftAfter        = 15 * time.Minute // how long a VM may take to end: its service gave it ten minutes for each step
	longestReason    = 500              // characters
	nearlyFull       = 0.9              // which part of JetStream's storage may be used
)

func (d *diagnosis) checkStreams(overview inspect.Overview) {
	if len(overview.Missing) > 0 {
		d.add("streams", problem, "start Flowjet, or run `flowjet nats provision`. If they existed before, their data is lost; the services are not, oned has them. A worker that may create streams recreates them within half a minute",
			"missing: %s", strings.Join(overview.Missing, ", "))
		return
	}
	troubled := 0
	for _, stream := range overview.Streams {
		if stream.Trouble == "" || len(stream.Away) > 0 {
			continue // a server that is away is reported once, and not for each of its copies
		}
		troubled++
		weight, mend := warning, "give JetStream more storage, then run `flowjet nats provision`"
		switch {
		case len(stream.Behind) > 0:
			weight, mend = problem, "wait until it has copied what it lacks, and stop no other NATS server before"
		case stream.Lost > 0:
			mend = "check the disk of its NATS server; Flowjet continues from oned's documents, and `flowjet service look ID` has a service compared with its own"
		case stream.Leaderless:
			weight, mend = problem, "start the NATS servers that are down: `nats server list`"
		}
		d.add("stream "+stream.Name, weight, mend, "%s", stream.Trouble)
	}
	if troubled == 0 {
		d.add("streams", fine, "", "all %d exist and are large enough", len(overview.Streams))
	}
}

// checkServers names each NATS server that is away once.
func (d *diagnosis) checkServers(overview inspect.Overview) {
	for _, server := range overview.Servers {
		if server.Away {
			d.add("NATS server "+server.Name, problem, "start it on its host: `systemctl start flowjet-nats`, or start the process that it is embedded in. If it runs, `journalctl -u flowjet-nats` there names the servers to which its network is broken: when that is repaired, it comes back by itself",
				"it does not answer: streams lack its copies, and the failure of one more server stops everything")
		}
	}
}

// checkMembers names the missing processes: a host without any as one.
func (d *diagnosis) checkMembers(overview inspect.Overview) {
	gone, there := map[string][]presence.Member{}, map[string]bool{}
	for _, member := range overview.Members {
		if !member.Missing.IsZero() {
			gone[member.Host] = append(gone[member.Host], member)
		} else {
			there[member.Host] = true
		}
	}
	for _, host := range slices.Sorted(maps.Keys(gone)) {
		members := gone[host]
		last := slices.MaxFunc(members, func(a, b presence.Member) int { return a.Missing.Compare(b.Missing) })
		if !there[host] && len(members) > 1 {
			var all []string
			for _, member := range members {
				all = append(all, member.Name)
			}
			d.add("front-end "+host, problem, "start it, or check the network to it. If it was removed for good, run `flowjet status --forget NAME` for each of its processes",
				"none of its processes has reported%s: %s", d.silence(last), few(all))
			continue
		}
		for _, member := range members {
			unit := "flowjet" // of all parts in one process
			if len(member.Parts) == 1 {
				unit += "-" + member.Parts[0]
			}
			d.add("process "+member.Name, problem, fmt.Sprintf("start it on %s: `systemctl start %s`. If it was removed for good: `flowjet status --forget '%s'`", host, unit, member.Name),
				"it has not reported%s", d.silence(member))
		}
	}
	if len(gone) == 0 && len(overview.Members) > 0 {
		d.add("processes", fine, "", "all that are expected (%d) are running", len(overview.Members))
	}
}

// silence returns for how long a missing process has not reported; empty if that is not known.
func (d *diagnosis) silence(missing presence.Member) string {
	if missing.SinceUnknown {
		return ""
	}
	return " for " + terminal.Span(d.now.Sub(missing.Missing))
}

func (d *diagnosis) checkWorkers(overview inspect.Overview) {
	var unreachable []string
	for _, worker := range overview.Workers {
		if worker.OnedUnreachable {
			unreachable = append(unreachable, worker.Worker)
		}
	}
	switch {
	case len(overview.Workers) == 0:
		d.add("workers", problem, "start one: `flowjet worker`, or `flowjet up`", "none is running: services make no progress, commands stay queued")
		return
	case len(unreachable) == len(overview.Workers):
		d.add("workers", problem, "check that oned answers them: their logs have its errors", "none of them can reach oned")
	case len(unreachable) > 0:
		d.add("workers", warning, "check the network between it and oned", "%s cannot reach oned; the other workers do the work", few(unreachable))
	default:
		d.add("workers", fine, "", "%d running, every partition has an owner", len(overview.Workers))
	}
}

// working reports whether any worker works: without one everything waits, which checkWorkers reports once.
func working(overview inspect.Overview) bool {
	return slices.ContainsFunc(overview.Workers, func(w inspect.WorkerShare) bool { return !w.OnedUnreachable })
}

// checkReads requires enough reads that a few slow ones do not count.
func (d *diagnosis) checkReads(oned pipeline.OnedReads) {
	const enough = 10
	if oned.Slow < enough || oned.Slow*5 < oned.Reads {
		return
	}
	d.add("oned", warning, "stop other programs that act for the same users with tokens of their own (OneFlow: `systemctl disable --now opennebula-flow`), and check the load of the leader's host",
		"%d of the %d reads of the last minute took more than 150 ms instead of about 2 ms: either programs replace each other's sessions of a user, so that oned runs an auth driver for each call, or oned is overloaded", oned.Slow, oned.Reads)
}

func (d *diagnosis) checkFeeds(ctx context.Context, pipe clients, overview inspect.Overview) {
	if slices.Contains(overview.Missing, pipeline.StreamONE) {
		return
	}
	alive := 0
	var disconnected []string
	for _, feed := range overview.Feeds {
		if feed.Alive {
			alive++
		}
		if feed.Disconnected {
			disconnected = append(disconnected, feed.Feed)
		}
	}
	switch {
	case len(overview.Feeds) == 0:
		d.add("bridges", problem, "start one: `flowjet bridge`, or `flowjet up`", "none has ever published: no events of OpenNebula are received")
		return
	case alive == 0:
		d.add("bridges", problem, "start one: `flowjet bridge`. It compares with oned when it starts and publishes what was missed", "none is running: events are missed")
	case alive < len(overview.Feeds):
		d.add("bridges", warning, "start a bridge that connects to it, unless its front-end was removed for good", "%d of %d feeds have a running bridge", alive, len(overview.Feeds))
	case len(disconnected) == 0:
		d.add("bridges", fine, "", "every feed (%d) has a running bridge", alive)
	}
	if len(disconnected) > 0 {
		weight := warning
		if len(disconnected) == alive {
			weight = problem
		}
		d.add("hook events", weight, "check that oned runs there, and that its port for hook events (2101) is open; when it is, all VMs are compared with oned",
			"no bridge is connected to those of %s: if its oned leads the zone, changes of VMs are noticed late, when their services are checked", few(disconnected))
	}
	d.checkEvents(ctx, pipe)
}

// checkEvents searches for lost events and for silence.
func (d *diagnosis) checkEvents(ctx context.Context, pipe clients) {
	heard, err := pipe.RecentEvents(ctx, resyncsRead)
	if err != nil {
		d.add("events", warning, "", "they cannot be read: %v", err)
		return
	}
	switch {
	case heard.Last.IsZero():
		d.add("events", warning, "check that oned publishes hook events (hm.log) and that --one-hooks has its port", "none has ever been received")
	case heard.Resynced > resyncsTolerated && d.now.Sub(heard.LastResynced) < time.Hour:
		d.add("events", warning, "nothing is lost. If the number grows while no bridge starts, ZeroMQ drops events: check the bridges' metrics and logs",
			"%d of the last %d were missed and then found by comparing with oned, the last %s ago", heard.Resynced, heard.Count, terminal.Span(d.now.Sub(heard.LastResynced)))
	default:
		d.add("events", fine, "", "the last was received %s ago", terminal.Span(d.now.Sub(heard.Last)))
	}
}

func (d *diagnosis) checkReaders(overview inspect.Overview) {
	if len(overview.Readers) == 0 || !working(overview) {
		return
	}
	late := 0
	for _, reader := range readersOf(overview) {
		if reader.Oldest.IsZero() || d.now.Sub(reader.Oldest) < slowAfter {
			continue
		}
		late++
		reason, mend := "", "its worker waits for oned or NATS: its log and /flowjet/v1/health have the reason"
		if reader.Reader == pipeline.WebhooksCursor {
			mend += "; or no worker has `webhooks.file`: set it, or, if webhooks are no longer wanted, `nats kv del FLOW_CHECKPOINT webhooks`"
		}
		for _, worker := range overview.Workers {
			if worker.Blocked != "" && reader.Reader == workersReader {
				reason += "; " + worker.Worker + ": " + terminal.Abridged(worker.Blocked, longestReason)
			}
		}
		d.add("reader "+reader.Reader, problem, mend, "%d messages wait, the oldest for %s%s",
			reader.Lag, terminal.Span(d.now.Sub(reader.Oldest)), reason)
	}
	if late == 0 {
		d.add("readers", fine, "", "no message waits longer than %s", slowAfter)
	}
}

func (d *diagnosis) checkTimers(overview inspect.Overview) {
	switch {
	case overview.Timers.Overdue == 0:
		d.add("timers", fine, "", "%d set, none overdue", overview.Timers.Set)
	case working(overview):
		d.add("timers", problem, "see the workers and readers above; `flowjet service why ID` explains a single service",
			"%d of %d are overdue", overview.Timers.Overdue, overview.Timers.Set)
	}
}

// checkServices names services that failed, and those in a transient state for too long.
func (d *diagnosis) checkServices(ctx context.Context, pipe clients) {
	var failed, stuck []string
	var others []int
	count := 0
	unreadable, err := pipe.CheckRecords(ctx, func(id int, record pipeline.Record) {
		if record.Deleted {
			return
		}
		count++
		row := rowOf(id, record.State.Service)
		state := record.State.Service.State()
		switch left := record.State.LeftAlone; {
		case left != nil && left.Until.IsZero():
			others = append(others, id)
		case state.Failed() || state == spec.ServiceWarning:
			failed = append(failed, fmt.Sprintf("%d (%s)", id, row.State))
		case inspect.Stuck(record.State.Service, d.now):
			stuck = append(stuck, fmt.Sprintf("%d (%s for %s)", id, row.State, terminal.Span(d.now.Sub(row.Since))))
		}
	})
	if err != nil {
		d.add("services", warning, "", "they cannot be read: %v", err)
		return
	}
	if len(unreadable) > 0 {
		d.add("services", problem, fmt.Sprintf("`nats kv del %s ID` removes a record; its service continues from its document at oned", pipeline.BucketState),
			"%d wait because their records in %s cannot be read: %s", len(unreadable), pipeline.BucketState, few(unreadable))
	}
	if len(others) > 0 {
		d.add("services", problem, "stop it (OneFlow: `systemctl disable --now opennebula-flow` on every front-end), then `oneflow recover ID` lets Flowjet continue",
			"another program, such as OneFlow, drives them, too, and Flowjet leaves them alone: %s", few(others))
	}
	if len(failed) > 0 {
		d.add("services", warning, "`flowjet service why ID` shows what failed and what to do", "%d of %d need attention: %s", len(failed), count, few(failed))
	}
	if len(stuck) > 0 {
		d.add("services", warning, "`flowjet service why ID` shows what each waits for", "%d make no progress: %s", len(stuck), few(stuck))
	}
	if len(failed)+len(stuck)+len(unreadable)+len(others) == 0 {
		d.add("services", fine, "", "%d, none failed or stuck", count)
	}
}

// checkLeftVMs names the VMs that outlive their services: those that do not end, as a leader of the zone that died leaves them and no service
// has oned retry them any more, and those that run on because they were given to another owner or their service's document was deleted.
func (d *diagnosis) checkLeftVMs(ctx context.Context, pipe clients) {
	ending, err := work.NewQueue(pipe.Pipeline).VMsThat(ctx, func(vm one.VM) bool { return vm.Service >= 0 && !vm.Gone() && (vm.Ending() || vm.Key != "") })
	var left []string
	for _, id := range slices.Sorted(maps.Keys(ending)) {
		event := ending[id]
		if d.now.Sub(event.Heard) < leftAfter {
			continue
		}
		record, revision, loadErr := pipe.LoadRecord(ctx, event.VM.Service)
		if err = cmp.Or(err, loadErr); loadErr == nil && (record.Deleted || revision == 0) {
			left = append(left, fmt.Sprintf("%s of service %d since %s", event.Title(), event.VM.Service, event.Heard.UTC().Format(time.RFC3339)))
		}
	}
	if err != nil {
		d.add("VMs", warning, "", "those that outlive their services cannot be found: %v", err)
	}
	if len(left) > 0 {
		d.add("VMs", warning, "of one that does not end see `onevm show ID` and its host: `onevm recover --success ID` if the VM is gone there, `--retry` if its disks are to be saved, `--delete` to give it up; "+
			"`onevm terminate ID` for one that runs, or remove FLOWJET_KEY from its user template if it is needed", "%d were not terminated with their services: %s", len(left), few(left))
	}
}

func (d *diagnosis) checkDeadLetters(overview inspect.Overview) {
	if deadLetters := counts(overview.DeadLetters, ""); deadLetters != "" {
		d.add("dead letters", warning, "`flowjet dlq ls` and `flowjet dlq show NUMBER` show the reason; then retry or drop them", "%s", deadLetters)
		return
	}
	d.add("dead letters", fine, "", "none")
}

func (d *diagnosis) checkWebhooks(ctx context.Context, pipe clients) {
	failing, _ := pipe.FailingDeliveries(ctx) // what can be read
	var troubled []string
	for key, attempts := range failing {
		if attempts.Count > 1 {
			receiver, service, _ := strings.Cut(key, ".")
			name := receiver + " for service " + service
			if strings.HasPrefix(receiver, "=") { // the service names it
				name = "a receiver of service " + service
			}
			troubled = append(troubled, fmt.Sprintf("%s (%d times: %s)", name, attempts.Count, terminal.Abridged(attempts.Error, 200)))
		}
	}
	if len(troubled) > 0 {
		d.add("webhooks", warning, "check that the receiver answers with 2xx and that its address is not denied (allow_addresses in the webhooks file); deliveries are retried automatically", "failing: %s", few(troubled))
	}
}

func (d *diagnosis) checkStorage(ctx context.Context, pipe clients) {
	used, most, err := pipe.Storage(ctx)
	if err != nil || most <= 0 {
		return // without a limit the disk's is the server's
	}
	weight, mend := fine, ""
	if float64(used) > nearlyFull*float64(most) {
		weight, mend = problem, "give the account more storage, or make the streams smaller"
	}
	d.add("JetStream's storage", weight, mend, "%s of %s are used", bytesText(used), bytesText(uint64(most)))
}

// checkDisk checks the disk of the embedded server, if it is on this host.
func (d *diagnosis) checkDisk(folder string) {
	disk, known := pipeline.DiskOf(folder)
	switch {
	case !known:
	case disk.NearlyFull():
		used, mend := fullText(disk)
		d.add("disk", problem, mend+": on a full disk NATS stores nothing and Flowjet stops working", "%s", used)
	default:
		d.add("disk", fine, "", "%s free for %s", bytesText(disk.Free), folder)
	}
}

// fullText returns how much of a disk is used, and what to do about it.
func fullText(disk pipeline.Disk) (used, mend string) {
	if disk.Inodes > disk.Used {
		return fmt.Sprintf("%.0f %% of the inodes of the disk of %s are used, and each file needs one", disk.Inodes*100, disk.Folder), "remove files"
	}
	return fmt.Sprintf("%.0f %% of the disk of %s are used, %s are free", disk.Used*100, disk.Folder, bytesText(disk.Free)), "free some space"
}

// checkDisks names each host where the disk of a data folder is nearly full. The NATS server there has its files on the
// same disk, as the packages install it, and is away once it cannot write. The host of a local data folder is left to
// checkDisk.
func (d *diagnosis) checkDisks(overview inspect.Overview, local string) {
	fullest := fullDisks(overview)
	if ours, err := os.Hostname(); local != "" && err == nil {
		delete(fullest, ours)
	}
	for _, host := range slices.Sorted(maps.Keys(fullest)) {
		used, mend := fullText(fullest[host])
		d.add("disk of "+host, problem, mend+" there: on a full disk its NATS server stores nothing, and is restarted when there is room again", "%s", used)
	}
}

// fullDisks returns the fullest disk of each host that has a nearly full one.
func fullDisks(overview inspect.Overview) map[string]pipeline.Disk {
	fullest := map[string]pipeline.Disk{}
	for _, disk := range overview.Disks {
		if disk.NearlyFull() && disk.Full() > fullest[disk.Host].Full() {
			fullest[disk.Host] = disk.Disk
		}
	}
	return fullest
}

// mismatchFor is how long a mismatch between the data and oned is reported.
const mismatchFor = 7 * 24 * time.Hour

// checkDamage compares the stream of work with the readers' positions in it.
func (d *diagnosis) checkDamage(ctx context.Context, pipe clients) {
	if err := pipe.CheckZone(ctx, pipeline.RoleReader); err != nil {
		d.add("zone", problem, "set the right zone with --zone or in the configuration; a data folder of another zone belongs there", "%v", err)
	}
	if found, has, err := pipe.LastMismatch(ctx); err != nil {
		d.add("data", problem, "", "cannot check whether NATS's data matches oned: %v", err)
	} else if has && d.now.Sub(found.Found) < mismatchFor {
		d.add("data", warning, "check the services that have changed since then (`flowjet service records`): oned's documents were used, and earlier commands may be lost or refused",
			"NATS's data was incomplete or did not match oned at %s: %s", found.Found.Format(time.RFC3339), found.Reason)
	}
	var read, last uint64
	var early bool
	var err error
	// A server that was cut off, or has just become the stream's leader, may report an end that the stream has passed.
	ended := lasting(ctx, func() bool {
		read, last, early, err = work.EndsEarly(ctx, pipe.Pipeline)
		return early && err == nil
	})
	err = cmp.Or(err, ended)
	switch {
	case err != nil:
		d.add("damage", problem, "", "cannot check whether stream WORK is complete: %v", err)
	case early:
		d.add("damage", problem, "start a worker: it repairs the stream from oned within seconds and logs it",
			"stream WORK ends at %d, but messages up to %d have been read: its end is lost", last, read)
	}
}

// checkLost searches for services of which the records or the history lack something. What changes at the moment is not found again.
func (d *diagnosis) checkLost(ctx context.Context, pipe clients) {
	var lost inspect.Damage
	var err error
	checked := false
	ended := lasting(ctx, func() bool {
		var found inspect.Damage
		if found, err = pipe.Damage(ctx); err != nil {
			return false
		}
		if checked {
			found.Records, found.Histories = common(lost.Records, found.Records), common(lost.Histories, found.Histories)
		}
		lost, checked = found, true
		return len(lost.Records)+len(lost.Histories) > 0
	})
	if err = cmp.Or(err, ended); err != nil {
		d.add("lost data", warning, "", "cannot compare the records with the history: %v", err)
		return
	}
	if len(lost.Records) > 0 {
		d.add("lost records", warning, "none is needed: a worker loads a service from its document at oned within minutes, `flowjet service look ID` at once; one without a document has ended",
			"no record in %s, although they have not ended according to stream %s: services %s", pipeline.BucketState, pipeline.StreamFlow, few(lost.Records))
	}
	if len(lost.Histories) > 0 {
		d.add("lost history", warning, "none is needed: the services continue, and `flowjet events` lacks what was lost",
			"stream %s lacks the last transitions of services %s", pipeline.StreamFlow, few(lost.Histories))
	}
}

// common returns the ids that are in both lists.
func common(one, other []int) []int {
	return slices.DeleteFunc(slices.Clone(one), func(id int) bool { return !slices.Contains(other, id) })
}
