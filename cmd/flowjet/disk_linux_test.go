package main

import "syscall"

// mountSmall makes the folder a file system of 420 MiB in memory, on which the streams just fit.
func mountSmall(folder string) error { return syscall.Mount("none", folder, "tmpfs", 0, "size=400m") }

func unmount(folder string) error { return syscall.Unmount(folder, syscall.MNT_DETACH) }
