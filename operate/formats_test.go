package operate

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// TestAListInEveryFormat: -o has one meaning for all that is listed.
func TestAListInEveryFormat(t *testing.T) {
	since := time.Date(2026, 11, 28, 11, 59, 0, 0, time.UTC)
	rows := []serviceRow{
		{ID: 3, Name: "web", Owner: "alice", State: "RUNNING", Since: since, Roles: 2, VMs: 3, Wanted: 4},
		{ID: 12, Name: "bad\x1b[2Jname", Owner: "bob", State: "PENDING"},
	}
	at := since.Local().Format("2006-01-02 15:04:05 MST")
	for format, want := range map[terminal.Format]string{
		terminal.Table: "ID  NAME         OWNER  STATE    FOR   ROLES  VMS\n3   web          alice  RUNNING  1d0h  2      3/4\n12  bad\uFFFD[2Jname  bob    PENDING  -     0      0/0\n",
		terminal.Wide:  "ID  NAME         OWNER  STATE    FOR   ROLES  VMS  SINCE\n3   web          alice  RUNNING  1d0h  2      3/4  " + at + "\n12  bad\uFFFD[2Jname  bob    PENDING  -     0      0/0  -\n",
		terminal.Name:  "3\n12\n",
		terminal.JSON:  "[\n  {\n    \"id\": 3,\n    \"name\": \"web\",",
		terminal.YAML:  "- id: 3\n  name: web\n  owner: alice\n  state: RUNNING\n  since: \"2026-11-28T11:59:00Z\"\n",
	} {
		var out strings.Builder
		c := terminal.New(&out, format)
		c.Now = func() time.Time { return since.Add(24 * time.Hour) }
		if err := writeServices(c, rows); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("-o %s: %q, want %q", format, out.String(), want)
		}
	}
}

// TestNothingInEveryFormat: scripts get an empty list, people a sentence.
func TestNothingInEveryFormat(t *testing.T) {
	for format, want := range map[terminal.Format]string{
		terminal.Table: "There are no dead letters.\nThere are no such commands. Commands are kept for 24 hours.\n",
		terminal.Name:  "", terminal.JSON: "[]\n[]\n", terminal.YAML: "[]\n[]\n",
	} {
		var out strings.Builder
		c := terminal.New(&out, format)
		if err := writeDeadLetters(c, []deadLetterView{}); err != nil {
			t.Fatal(err)
		}
		if err := writeCommands(c, []pipeline.CommandStatus{}); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("-o %s: %q, want %q", format, out.String(), want)
		}
	}
}

// TestTopShowsTroubleFirst, then what has not come to rest for the longest time, and no more than fits.
func TestTopShowsTroubleFirst(t *testing.T) {
	now := time.Now()
	since := func(ago time.Duration) time.Time { return now.Add(-ago) }
	rows := []serviceRow{
		{ID: 1, Name: "young", State: "DEPLOYING", Since: since(time.Second)}, {ID: 2, Name: "old", State: "SCALING", Since: since(time.Hour)},
		{ID: 3, Name: "warned", State: "WARNING", Since: since(time.Minute)}, {ID: 4, Name: "failed", State: "FAILED_DEPLOYING", Since: since(time.Minute)},
	}
	for id := range topRows {
		rows = append(rows, serviceRow{ID: 100 + id, Name: "more", State: "PENDING", Since: since(time.Millisecond)})
	}
	var out strings.Builder
	writeUnsettled(terminal.New(&out, terminal.Table), rows)
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"ID ", "4    failed", "3    warned", "2    old", "1    young", "100  more"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	if want := "and 4 more: `flowjet service records`"; lines[topRows+1] != want {
		t.Errorf("the last line is %q, want %q", lines[topRows+1], want)
	}
	out.Reset()
	writeUnsettled(terminal.New(&out, terminal.Table), nil)
	if out.String() != "Every service is RUNNING.\n" {
		t.Errorf("without any it is %q", out.String())
	}
}
