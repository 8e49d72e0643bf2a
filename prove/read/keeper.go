package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ledgerline/ledgerline/prove/process"
)

// keeper keeps a process running: one that ends is started again after a moment.
type keeper struct {
	r           *run
	name        string
	program     string
	args        []string
	api, admin  int
	mu          sync.Mutex
	current     *process.Process
	closed      bool
	done, leave chan struct{}
}

func keep(r *run, name, binary string, ports []int, args ...string) *keeper {
	k := &keeper{
		r: r, name: name, program: filepath.Join(r.cfg.dir, binary), api: ports[0], admin: ports[1],
		done: make(chan struct{}), leave: make(chan struct{}),
	}
	k.args = append([]string{"serve", "--http-addr", process.Local(k.api), "--admin-addr", process.Local(k.admin)}, r.connect()...)
	k.args = append(k.args, args...)
	go k.run()
	return k
}

func (k *keeper) run() {
	defer close(k.done)
	for {
		k.mu.Lock()
		if k.closed {
			k.mu.Unlock()
			return
		}
		p, err := process.Start(filepath.Join(k.r.cfg.dir, k.name+".log"), k.r.now, k.program, k.args...)
		k.current = p
		k.mu.Unlock()
		if err != nil {
			k.r.say("%v", err)
			return
		}
		<-p.Ended
		k.r.say("%s: %s: %s", k.name, p.Cmd.ProcessState, p.LastLine())
		select {
		case <-k.leave:
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (k *keeper) process() *process.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// kill kills the process and returns false if there was none to kill.
func (k *keeper) kill() bool {
	p := k.process()
	return p != nil && p.Alive() && p.Signal(syscall.SIGKILL)
}

// give up starts it no more.
func (k *keeper) giveUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.closed = true
		close(k.leave)
	}
}

// end has the process end in good order.
func (k *keeper) end() error {
	k.giveUp()
	p := k.process()
	if p == nil || !p.Signal(syscall.SIGTERM) {
		return fmt.Errorf("ending %s at the end: it does not run", k.name)
	}
	if !p.Within(time.Minute) {
		return fmt.Errorf("ending %s at the end: it did not end in a minute", k.name)
	}
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("ending %s at the end: %s: %s", k.name, p.Cmd.ProcessState, p.LastLine())
	}
	return nil
}

func (k *keeper) close() {
	k.giveUp()
	if p := k.process(); p != nil {
		p.End()
	}
	<-k.done
}

// url is where it answers.
func (k *keeper) url() string { return "http://" + process.Local(k.api) }

// ready asks the admin address.
func (k *keeper) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+process.Local(k.admin)+"/readyz", nil)
	if err != nil {
		return err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", k.name, answer.Status)
	}
	return nil
}
