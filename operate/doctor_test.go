package operate

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/presence"
)

// said is what a diagnosis has found, a line each.
func (d *diagnosis) said() string {
	var text strings.Builder
	for _, found := range d.findings {
		text.WriteString(found.Weight + " " + found.Check + ": " + found.Message + "\n")
	}
	return text.String()
}

// TestEachCauseIsNamedOnce: a front-end of which nothing is heard is one, and so is a NATS
// server, however many copies it holds.
func TestEachCauseIsNamedOnce(t *testing.T) {
	now := time.Now()
	gone := now.Add(-time.Minute)
	member := func(host, part string, missing time.Time) presence.Member {
		return presence.Member{Name: host + " " + part, Host: host, Parts: []string{part}, Missing: missing}
	}
	d := diagnosis{now: now}
	overview := inspect.Overview{
		Status: inspect.Status{
			Members: []presence.Member{
				member("fe1", "worker", time.Time{}), member("fe1", "api", gone),
				member("fe2", "worker", gone), member("fe2", "api", gone), member("fe2", "bridge", gone),
			},
			Servers: []inspect.ServerStatus{{Name: "n1"}, {Name: "n2", Away: true, Streams: 7}},
		},
		Streams: []inspect.StreamStatus{
			{Name: "ONE", Trouble: "its replica on n2 is unreachable", Away: []string{"n2"}},
			{Name: "FLOW", Trouble: "it has no leader: most of its servers are unreachable", Leaderless: true},
			{Name: "HOOK", Trouble: "its replica on n1 is not complete yet", Behind: []string{"n1"}},
		},
	}
	d.checkMembers(overview)
	d.checkServers(overview)
	d.checkStreams(overview)
	if got, want := d.said(), "problem process fe1 api: it has not reported for 1m0s\n"+
		"problem front-end fe2: none of its processes has reported for 1m0s: fe2 api, fe2 bridge, fe2 worker\n"+
		"problem NATS server n2: it does not answer: streams lack its copies, and the failure of one more server stops everything\n"+
		"problem stream FLOW: it has no leader: most of its servers are unreachable\n"+
		"problem stream HOOK: its replica on n1 is not complete yet\n"; got != want {
		t.Errorf("it says\n%swant\n%s", got, want)
	}
	// Its unit is named: systemctl finds no stopped units by a pattern.
	whole := diagnosis{now: now}
	whole.checkMembers(inspect.Overview{Status: inspect.Status{Members: []presence.Member{{Name: "fe4 up", Host: "fe4", Parts: []string{"bridge", "worker", "api"}, Missing: gone}}}})
	if mends := d.findings[0].Mend + whole.findings[0].Mend; !strings.Contains(mends, "on fe1: `systemctl start flowjet-api`") || !strings.Contains(mends, "on fe4: `systemctl start flowjet`") {
		t.Errorf("it names the units %s", mends)
	}
	away := overview // its processes and server have been silent for long enough
	away.Workers, away.Streams = []inspect.WorkerShare{{}}, overview.Streams[:1]
	behind := away // an upgrade is not to go on to the next server before
	behind.Feeds, behind.Streams = []inspect.FeedStatus{{Alive: true}}, overview.Streams[2:]
	unheard := away // by a server that is back without its data
	away.Feeds = []inspect.FeedStatus{{Alive: true}}
	if !unsettled(overview) || !unsettled(unheard) || !unsettled(behind) || unsettled(away) {
		t.Error("what may mend itself is looked at again, and nothing else")
	}
	noticed := diagnosis{now: now}
	unstored := member("fe3", "worker", now)
	unstored.SinceUnknown = true
	noticed.checkMembers(inspect.Overview{Status: inspect.Status{Members: []presence.Member{unstored}}})
	if got := noticed.said(); got != "problem process fe3 worker: it has not reported\n" {
		t.Errorf("of a process of which nobody has stored since when it is missing it says %s", got)
	}
	well := diagnosis{now: now}
	well.checkMembers(inspect.Overview{Status: inspect.Status{Members: overview.Members[:1]}})
	if got := well.said(); got != "ok processes: all that are expected (1) are running\n" {
		t.Errorf("it says %s", got)
	}
}

// TestAFullDiskIsNamedFromAnywhere: a host is named once, by its fullest disk, and the own one by what is looked at itself where its
// data folder is at hand.
func TestAFullDiskIsNamedFromAnywhere(t *testing.T) {
	ours, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	disk := func(host, part string, used float64) inspect.DiskStatus {
		return inspect.DiskStatus{Process: host + " " + part, Host: host, Disk: pipeline.Disk{Folder: "/var/lib/flowjet/" + part, Used: used, Free: 5 << 20}}
	}
	overview := inspect.Overview{Disks: []inspect.DiskStatus{disk("fe1", "api", 0.5), disk("fe2", "api", 0.93), disk("fe2", "worker", 0.996), disk(ours, "api", 0.95)}}
	const fe2 = "problem disk of fe2: 100 % of the disk of /var/lib/flowjet/worker are used, 5 MiB are free\n"
	for folder, want := range map[string]string{
		"/var/lib/flowjet": fe2,
		"":                 fe2 + "problem disk of " + ours + ": 95 % of the disk of /var/lib/flowjet/api are used, 5 MiB are free\n",
	} {
		var d diagnosis
		d.checkDisks(overview, folder)
		if got := d.said(); got != want {
			t.Errorf("with the data folder %q at hand it says\n%swant\n%s", folder, got, want)
		}
	}
	var d diagnosis
	d.checkDisks(inspect.Overview{Disks: []inspect.DiskStatus{{Host: "fe3", Disk: pipeline.Disk{Folder: "/data", Used: 0.3, Free: 5 << 20, Inodes: 1}}}}, "")
	if got := d.said(); got != "problem disk of fe3: 100 % of the inodes of the disk of /data are used, and each file needs one\n" {
		t.Errorf("without a free inode it says %s", got)
	}
	overview.Members = []presence.Member{{Name: "fe1 api"}, {Name: "fe2 worker"}}
	var out strings.Builder
	writeProcesses(terminal.New(&out, terminal.Table), overview)
	for _, want := range []string{"fe1 api            -        ok\n", "fe2 worker         -        ok, its disk is 100 % full\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, out.String())
		}
	}
}
