//go:build unix

package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// endTimeout is how long a process that was asked to end may take, before it is killed.
const endTimeout = 30 * time.Second

// process is a service that can be started again and again, one run at a time. Its output of all runs
// is in one file.
type process struct {
	service Service
	args    []string
	dir     string
	output  string
	log     *slog.Logger

	mu  sync.Mutex
	run *run
}

// run is one life of a process.
type run struct {
	cmd *exec.Cmd
	// ended is closed when the process is gone and was waited for.
	ended chan struct{}

	mu      sync.Mutex
	dismiss bool // its end is our doing
}

// start starts the process, which must not run.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && !p.run.over() {
		return fmt.Errorf("%s runs already", p.service)
	}
	output, err := os.OpenFile(p.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.service, err)
	}
	defer output.Close() // the process has its own
	r := &run{cmd: exec.Command(p.args[0], p.args[1:]...), ended: make(chan struct{})}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr, r.cmd.SysProcAttr = p.dir, output, output, processAttributes()
	started := make(chan error)
	go p.live(r, started)
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.service, err)
	}
	p.run = r
	p.log.Debug("service started", "service", p.service, "pid", r.cmd.Process.Pid)
	return nil
}

// live starts the process and waits for its end, on one thread: the death signal is sent when the
// starting thread ends, not the process that it belongs to.
func (p *process) live(r *run, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := r.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	err = r.cmd.Wait()
	close(r.ended)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dismiss {
		p.log.Error("service ended by itself", "service", p.service, "err", err, "output", p.output)
	}
}

func (r *run) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// current returns the run, or an error if the process does not run.
func (p *process) current() (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil || p.run.over() {
		return nil, fmt.Errorf("%s does not run", p.service)
	}
	return p.run, nil
}

// ended is closed when the last run is over.
func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run.ended
}

// signal sends a signal to the running process, and to it alone.
func (p *process) signal(s syscall.Signal) error {
	r, err := p.current()
	if err != nil {
		return err
	}
	return r.cmd.Process.Signal(s)
}

// kill ends the process at once, if it runs.
func (p *process) kill() error {
	r, err := p.current()
	if err != nil {
		return nil //nolint:nilerr // that is what was wanted
	}
	r.forgive()
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.service, err)
	}
	<-r.ended
	return nil
}

// end asks the process to end, and kills it if it does not.
func (p *process) end(ctx context.Context) error {
	r, err := p.current()
	if err != nil {
		return nil //nolint:nilerr // that is what was wanted
	}
	r.forgive()
	// One that is stopped hears nothing else.
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("ending %s: %w", p.service, err)
		}
	}
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-r.ended:
		return nil
	case <-timer.C:
		p.log.Warn("service was killed: it did not end when asked to", "service", p.service)
	case <-ctx.Done():
	}
	return errors.Join(ctx.Err(), p.kill())
}

// forgive says that the end which comes is our doing.
func (r *run) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dismiss = true
}

// tail returns the last lines of the output.
func (p *process) tail() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}
