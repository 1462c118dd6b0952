package app

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// TestShareOfAProcessThatBegins: it may use at once what nobody else can claim.
func TestShareOfAProcessThatBegins(t *testing.T) {
	client := opennebula.NewClient(opennebula.Config{Endpoint: "http://127.0.0.1:1/RPC2"})
	defer client.Close()
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		others      []pipeline.Process
		first, then int
	}{
		{nil, 7, 7},
		{[]pipeline.Process{{ID: "a"}, {ID: "b"}}, 2, 7},
		{[]pipeline.Process{{ID: "a", Calling: true}, {ID: "b"}}, 2, 3},
	} {
		s := &onedShare{oned: client, self: pipeline.Process{ID: "self"}, total: 7}
		if first := s.calculate(c.others, now); first != c.first {
			t.Errorf("beside %v it begins with %d, want %d", c.others, first, c.first)
		}
		s.began = now.Add(-heardAfter)
		s.called = now
		fresh := append([]pipeline.Process{}, c.others...)
		for i := range fresh {
			fresh[i].Calling = fresh[i].ID == "a" && c.then == 3
		}
		if then := s.calculate(fresh, now); then != c.then {
			t.Errorf("beside %v it goes on with %d, want %d", fresh, then, c.then)
		}
	}
}

// TestAProcessTellsOfItsDisk: also before its data folder is made.
func TestAProcessTellsOfItsDisk(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it looks once
	there := t.TempDir()
	var s onedShare
	s.watchDisk(ctx, filepath.Join(there, "flowjet", "worker"))
	if disk := s.disk.Load(); disk == nil || disk.Folder != there || disk.Used <= 0 || disk.Used > 1 {
		t.Errorf("the disk is %+v, want that of %s", disk, there)
	}
}
