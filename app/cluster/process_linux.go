package cluster

import "syscall"

// processAttributes makes a part die with the process that started it, even if that is killed; Ctrl-C goes to the starter
// only.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
