package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one life of an ingest process.
type process struct {
	cmd     *exec.Cmd
	output  string
	started int64
	// ended is closed once it is gone and was waited for, at the time died.
	ended chan struct{}
	died  int64
}

// launch starts a process whose output, of all its lives, is appended to a file.
func (r *run) launch(output, instance string, http, admin int) (*process, error) {
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting ingest %s: %w", instance, err)
	}
	defer file.Close() // the process has its own
	args := append([]string{
		"serve", "--instance", instance, "--workers", fmt.Sprint(r.cfg.workers),
		"--http-addr", local(http), "--admin-addr", local(admin),
	}, r.connect()...)
	args = append(args, strings.Fields(r.cfg.flags)...)
	p := &process{cmd: exec.Command(r.cfg.dir+"/ingest", args...), output: output, ended: make(chan struct{}), started: r.now()}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = file, file, attributes()
	fmt.Fprintf(file, "time=%s native=starting at=%.3fs args=%q\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), float64(p.started)/1e9, p.cmd.Args)
	begun := make(chan error)
	go func() {
		// On one thread: the death signal is sent when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		begun <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its ProcessState
			p.died = r.now()
			close(p.ended)
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("starting ingest %s: %w", instance, err)
	}
	return p, nil
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// signal sends a signal; that the process has ended meanwhile is no error but ok is false.
func (p *process) signal(s syscall.Signal) (ok bool) {
	return p.cmd.Process.Signal(s) == nil
}

// end kills the process and waits for that.
func (p *process) end() {
	if err := p.cmd.Process.Kill(); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-p.ended
	}
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// within waits for the process's end.
func (p *process) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// lastLine is what the process said last.
func (p *process) lastLine() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}
