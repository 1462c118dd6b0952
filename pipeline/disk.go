package pipeline

import "syscall"

// Disk is the usage of the disk of a folder.
type Disk struct {
	Folder string `json:"folder"`
	// Used is the share that is used, as df shows it; Free is how many bytes can still be written.
	Used float64 `json:"used"`
	Free uint64  `json:"free"`
}

// DiskOf returns the usage of the disk of a folder, and false if that is not known.
func DiskOf(folder string) (Disk, bool) {
	var disk syscall.Statfs_t
	if folder == "" || syscall.Statfs(folder, &disk) != nil || disk.Blocks == 0 {
		return Disk{}, false
	}
	taken := disk.Blocks - disk.Bfree
	used := float64(taken) / float64(max(1, taken+disk.Bavail)) // as df shows it: some blocks are for root alone
	return Disk{Folder: folder, Used: used, Free: disk.Bavail * uint64(disk.Bsize)}, true
}
