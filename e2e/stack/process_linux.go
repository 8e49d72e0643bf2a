package stack

import "syscall"

// processAttributes gives a process a group of its own, so that a Ctrl-C at the terminal is ours to
// pass on, and has the kernel kill it when this process dies, whatever of.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
