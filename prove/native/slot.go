package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ledgerline/ledgerline/prove/process"
)

const (
	firstBackoff = 100 * time.Millisecond
	mostBackoff  = 5 * time.Second
	// longLife is what a process must live for the next restart to be without a pause again.
	longLife = 10 * time.Second
)

// slot is the place of one ingest process, which it has through all its lives: a supervisor starts a
// process that ended again, with a growing pause, as long as it is wanted.
type slot struct {
	r     *run
	name  string
	ports []int // HTTP and admin; the same two of a twin

	mu      sync.Mutex
	wanted  bool
	changed chan struct{} // closed when wanted changes
	current *process.Process
	closed  bool
	done    chan struct{}
}

func newSlot(r *run, name string, ports []int) *slot {
	return &slot{r: r, name: name, ports: ports, changed: make(chan struct{}), done: make(chan struct{})}
}

// want says whether the process is to run. It does not end one that does.
func (s *slot) want(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = wanted
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *slot) state() (wanted, closed bool, changed chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted, s.closed, s.changed
}

// process is the last one, nil before the first.
func (s *slot) process() *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// supervise keeps the process running while it is wanted.
func (s *slot) supervise() {
	defer close(s.done)
	backoff := firstBackoff
	for {
		wanted, closed, changed := s.state()
		if closed {
			return
		}
		if !wanted {
			<-changed
			continue
		}
		p, err := s.r.launch(s.output(), s.name, s.ports[0], s.ports[1])
		if err != nil {
			s.r.note(s.name, err.Error())
			return
		}
		s.mu.Lock()
		s.current = p
		if s.closed { // meanwhile
			_ = p.Signal(syscall.SIGKILL)
		}
		s.mu.Unlock()
		<-p.Ended
		s.r.exited(s.name, p)
		if p.Died-p.Started > int64(longLife) || p.Cmd.ProcessState.ExitCode() < 0 { // killed: that is ours
			backoff = firstBackoff
		}
		if wanted, _, changed := s.state(); wanted {
			select {
			case <-time.After(backoff):
			case <-changed:
			}
		}
		backoff = min(2*backoff, mostBackoff)
	}
}

func (s *slot) output() string { return filepath.Join(s.r.cfg.dir, "ingest-"+s.name+".log") }

// instances are the names of the slot's workers in their group.
func (s *slot) instances() map[string]bool {
	names := map[string]bool{}
	for n := range s.r.cfg.workers {
		names[fmt.Sprintf("%s.%s.%d", s.r.group, s.name, n)] = true
	}
	return names
}

// url is where it takes commands.
func (s *slot) url() string { return "http://" + process.Local(s.ports[0]) }

// ready asks the admin address.
func (s *slot) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+process.Local(s.ports[1])+"/readyz", nil)
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
		return fmt.Errorf("%s is not ready: %s", s.name, answer.Status)
	}
	return nil
}

// kill kills the process and returns when, false if there was none to kill.
func (s *slot) kill() (at int64, ok bool) {
	p := s.process()
	if p == nil || !p.Alive() {
		return 0, false
	}
	at = s.r.now()
	return at, p.Signal(syscall.SIGKILL)
}

// terminate asks the process to end, in good order, and returns its last line with what was wrong.
func (s *slot) terminate(ctx context.Context, patience time.Duration) (string, error) {
	p := s.process()
	if p == nil {
		return "", nil
	}
	if !p.Signal(syscall.SIGTERM) {
		return p.LastLine(), nil // it had ended
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.Ended:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return p.LastLine(), fmt.Errorf("it did not end in %s", patience)
	}
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		return p.LastLine(), fmt.Errorf("it ended with %s", p.Cmd.ProcessState)
	}
	return p.LastLine(), nil
}

// close ends the process and its supervisor.
func (s *slot) close() {
	s.mu.Lock()
	s.closed, s.wanted = true, false
	close(s.changed)
	s.changed = make(chan struct{})
	p := s.current
	s.mu.Unlock()
	if p != nil {
		p.End()
	}
	<-s.done
}

// exited keeps how a process ended.
func (r *run) exited(name string, p *process.Process) {
	line := p.LastLine()
	r.figures.exit(p.Cmd.ProcessState.String(), line)
	r.note(name, fmt.Sprintf("%s after %.1f s: %s", p.Cmd.ProcessState, float64(p.Died-p.Started)/1e9, line))
}

// note appends a line to exits.txt.
func (r *run) note(name, text string) {
	file, err := os.OpenFile(filepath.Join(r.cfg.dir, "exits.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(file, "%9.3fs %s: %s\n", float64(r.now())/1e9, name, text)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		r.say("keeping an exit: %v", err)
	}
}
