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
