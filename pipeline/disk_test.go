package pipeline

import (
	"path/filepath"
	"testing"
)

func TestTheDiskOfAFolder(t *testing.T) {
	folder := t.TempDir()
	disk, known := DiskOf(folder)
	if !known || disk.Folder != folder || disk.Used < 0 || disk.Used > 1 || disk.Free == 0 && disk.Used < 1 || disk.Inodes < 0 || disk.Inodes > 1 {
		t.Errorf("the disk of %s is %+v, %t", folder, disk, known)
	}
	for _, none := range []string{"", filepath.Join(folder, "missing")} {
		if disk, known := DiskOf(none); known || disk != (Disk{}) {
			t.Errorf("the disk of %q is %+v", none, disk)
		}
	}
}

// TestADiskIsNearlyFull where the streams may not find room: a tenth of a large disk is enough.
func TestADiskIsNearlyFull(t *testing.T) {
	for disk, want := range map[Disk]bool{
		{Used: 0.95, Free: 180 << 30}:              false,
		{Used: 0.92, Free: 7 << 30}:                false,
		{Used: 0.91, Free: 1800 << 20}:             true,
		{Used: 0.5, Free: 1 << 30}:                 false,
		{Used: 0.2, Free: 180 << 30, Inodes: 0.95}: true,
	} {
		if got := disk.NearlyFull(); got != want {
			t.Errorf("%+v is nearly full: %t", disk, got)
		}
	}
}

// TestTheScarcerCounts: a disk without free inodes is as full as one without space.
func TestTheScarcerCounts(t *testing.T) {
	for disk, want := range map[Disk]float64{{Used: 0.4}: 0.4, {Used: 0.4, Inodes: 0.9}: 0.9, {Used: 0.95, Inodes: 0.9}: 0.95} {
		if got := disk.Full(); got != want {
			t.Errorf("%+v is full to %g, want %g", disk, got, want)
		}
	}
}
