package pipeline

import "syscall"

// Disk is the usage of the disk of a folder.
type Disk struct {
	Folder string `json:"folder"`
	// Used is the share that is used, as df shows it; Free is how many bytes can still be written.
	Used float64 `json:"used"`
	Free uint64  `json:"free"`
	// Inodes is the share of the inodes that is used: without a free one no file can be created, however much space there is. It is 0
	// where their number is not fixed.
	Inodes float64 `json:"inodes,omitempty"`
}

// What NearlyFull compares with. A tenth of a large disk is room enough for the streams.
const (
	nearlyFull     = 0.9
	roomForStreams = eventBytes + historyBytes + hookBytes + deadBytes
)

// Full returns the share that is used of what is scarcer, space or inodes.
func (d Disk) Full() float64 { return max(d.Used, d.Inodes) }

// NearlyFull reports whether more than nine tenths of the space are used and less is free than the streams may take, or
// whether more than nine tenths of the inodes are used.
func (d Disk) NearlyFull() bool {
	return d.Used > nearlyFull && d.Free < roomForStreams || d.Inodes > nearlyFull
}

// DiskOf returns the usage of the disk of a folder, and false if that is not known.
func DiskOf(folder string) (Disk, bool) {
	var disk syscall.Statfs_t
	if folder == "" || syscall.Statfs(folder, &disk) != nil || disk.Blocks == 0 {
		return Disk{}, false
	}
	taken := disk.Blocks - disk.Bfree
	used := float64(taken) / float64(max(1, taken+disk.Bavail)) // as df shows it: some blocks are for root alone
	inodes := float64(disk.Files-disk.Ffree) / float64(max(1, disk.Files))
	return Disk{Folder: folder, Used: used, Free: disk.Bavail * uint64(disk.Bsize), Inodes: inodes}, true
}
