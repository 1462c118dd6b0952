//go:build !linux

package cluster

import "syscall"

// processAttributes sends Ctrl-C to the starter only.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
