package process_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/prove/process"
)

func TestLifeOfAProcess(t *testing.T) {
	output := filepath.Join(t.TempDir(), "output.log")
	now := int64(0)
	clock := func() int64 { now++; return now }
	p, err := process.Start(output, clock, "/bin/sh", "-c", "echo first; echo last; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Within(time.Minute) || p.Alive() || p.Cmd.ProcessState.ExitCode() != 3 || p.Started != 1 || p.Died != 2 {
		t.Errorf("alive %t, %v, from %d to %d", p.Alive(), p.Cmd.ProcessState, p.Started, p.Died)
	}
	if p.LastLine() != "last" || p.Signal(syscall.SIGTERM) {
		t.Errorf("it said %q last, or took a signal after its end", p.LastLine())
	}
	p, err = process.Start(output, clock, "/bin/sh", "-c", "exec cat </dev/zero >/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if p.Within(10 * time.Millisecond) {
		t.Fatal("it has ended by itself")
	}
	if p.End(); p.Alive() || p.Cmd.ProcessState.ExitCode() >= 0 {
		t.Errorf("after a kill: %v", p.Cmd.ProcessState)
	}
	if _, err := process.Start(output, clock, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("what is not there was started")
	}
}
