package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func TestServiceLogsAreLaidOutAsOneFlows(t *testing.T) {
	l := &serviceLogs{folder: t.TempDir(), logger: slog.New(slog.DiscardHandler)}
	at, vm := time.Date(2026, 11, 2, 22, 31, 30, 0, time.Local), 4
	for _, change := range []flow.Change{
		{Kind: "service", Old: "PENDING", New: "DEPLOYING"},
		{Kind: "vm", Role: "front", VM: &vm, New: "created"},
		{Kind: "role", Role: "front", Old: "DEPLOYING", New: "FAILED_DEPLOYING", Reason: "VM 4 is in\nBOOT_FAILURE"},
	} {
		if err := l.write(pipeline.Transition{Service: 7, Time: at, Change: change, Cause: pipeline.Cause{Kind: "event", ID: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(l.folder, "7.log"))
	const want = "Mon Nov 02 22:31:30 2026 [I]: [SER] PENDING -> DEPLOYING [event x]\n" +
		"Mon Nov 02 22:31:30 2026 [I]: [LCM] role front: VM 4 created [event x]\n" +
		"Mon Nov 02 22:31:30 2026 [E]: [ROL] role front: DEPLOYING -> FAILED_DEPLOYING (VM 4 is in BOOT_FAILURE) [event x]\n"
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%swant\n%s", err, got, want)
	}
}
