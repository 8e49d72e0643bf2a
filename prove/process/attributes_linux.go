package process

import "syscall"

// attributes gives a process a group of its own, so that a Ctrl-C is the run's to act on, and has the
// kernel kill it when the run dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
