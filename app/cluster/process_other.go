//go:build !linux

package cluster

import "syscall"

// processAttributes: Ctrl-C goes to the starter only.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
