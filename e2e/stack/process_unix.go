//go:build unix && !linux

package stack

import "syscall"

// processAttributes gives a process a group of its own, so that a Ctrl-C at the terminal is ours to
// pass on. Nothing here ends it if this process is killed.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
