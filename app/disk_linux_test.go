package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flowjet/flowjet/internal/testlog"
)

// NATS says only that its folder is not writable, also to root: the reason is added.
func TestNATSWithoutFreeInodes(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=64m,nr_inodes=100"); err != nil {
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	config := configOf(t, "--data-dir", filepath.Join(disk, "data"), "--nats-listen", "127.0.0.1:0")
	start := func() error {
		var log testlog.Log
		a := New(config, []Part{PartNATS}, "test", &log, log.Logger())
		err := a.Start(t.Context())
		if err == nil {
			must(t, a.Stop(t.Context()))
		}
		return err
	}
	must(t, start())
	var err error
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(disk, fmt.Sprint(i)), nil, 0o600)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_, _, err = config.Store(t.Context(), nil)
	for _, err := range []error{start(), err} {
		if err == nil || !strings.Contains(err.Error(), "no free inodes") || strings.Contains(err.Error(), "\n") {
			t.Errorf("without a free inode: %v", err)
		}
	}
}
