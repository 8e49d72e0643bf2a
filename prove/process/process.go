// Package process runs the binaries of a proof as processes of this machine, and kills them. It owns their
// lives, one at a time, and ends what it started when the proof dies. It knows nothing of what they do.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one life of a process.
type Process struct {
	Cmd *exec.Cmd
	// Started and Died are when, by the clock given to [Start]. Died counts once Ended is closed.
	Started, Died int64
	// Ended is closed once the process is gone and was waited for.
	Ended chan struct{}

	output string
}

// Start starts a program whose output, of all its lives, is appended to a file.
func Start(output string, now func() int64, program string, args ...string) (*Process, error) {
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	defer file.Close() // the process has its own
	p := &Process{Cmd: exec.Command(program, args...), output: output, Ended: make(chan struct{}), Started: now()}
	p.Cmd.Stdout, p.Cmd.Stderr, p.Cmd.SysProcAttr = file, file, attributes()
	fmt.Fprintf(file, "time=%s prove=starting at=%.3fs args=%q\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), float64(p.Started)/1e9, p.Cmd.Args)
	begun := make(chan error)
	go func() {
		// On one thread: the death signal is sent when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.Cmd.Start()
		begun <- err
		if err == nil {
			_ = p.Cmd.Wait() // how it ended is in its ProcessState
			p.Died = now()
			close(p.Ended)
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return p, nil
}

// Signal sends a signal; that the process has ended meanwhile is no error but ok is false.
func (p *Process) Signal(s syscall.Signal) (ok bool) {
	return p.Cmd.Process.Signal(s) == nil
}

// End kills the process and waits for that.
func (p *Process) End() {
	if err := p.Cmd.Process.Kill(); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-p.Ended
	}
}

// Alive reports whether the process has not ended yet.
func (p *Process) Alive() bool {
	select {
	case <-p.Ended:
		return false
	default:
		return true
	}
}

// Within waits for the process's end, and returns false if it does not come in d.
func (p *Process) Within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.Ended:
		return true
	case <-timer.C:
		return false
	}
}

// LastLine is what the process said last.
func (p *Process) LastLine() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}

// Local is the address of a port of this machine.
func Local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Build builds commands of the proofs' module, each named by its folder below cmd, into a folder.
// PROVE_BUILD_FLAGS holds more flags for the build.
func Build(ctx context.Context, dir string, commands ...string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("looking for the proofs' module: %w", err)
	}
	args := append([]string{"build", "-o", dir}, strings.Fields(os.Getenv("PROVE_BUILD_FLAGS"))...)
	for _, c := range commands {
		args = append(args, "./cmd/"+c)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = strings.TrimSpace(string(root))
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w: %s", err, text)
	}
	return nil
}

// Provision makes the topics with the binary in dir; connect are the flags that reach the services. On a
// busy machine the registry's first answers may come too late for it: it tries five times.
func Provision(ctx context.Context, dir string, partitions int, connect []string) error {
	args := append([]string{"apply", "--partitions", strconv.Itoa(partitions)}, connect...)
	for tries := 1; ; tries++ {
		text, err := exec.CommandContext(ctx, filepath.Join(dir, "provision"), args...).CombinedOutput()
		if err == nil {
			return nil
		}
		if tries == 5 {
			return fmt.Errorf("provision apply: %w: %s", err, text)
		}
	}
}
