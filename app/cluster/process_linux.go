package cluster

import "syscall"

// processAttributes has a part die with the process that started it, also where that is killed; Ctrl-C goes to the starter only.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
