package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
)

// quiet is the part of the run in which no broker is at fault: workers die, go and come, and it is timed
// what their partitions go through.
func (r *run) quiet(ctx context.Context) error {
	// A cluster that has just started is slow.
	if r.cfg.restarted+r.cfg.gone+r.cfg.scalings > 0 && !pause(ctx, 5*time.Second) {
		return ctx.Err()
	}
	chance := r.chance("quiet")
	turn := chance.IntN(len(r.slots))
	for i := range max(r.cfg.restarted, r.cfg.gone, r.cfg.scalings) {
		for _, one := range []struct {
			most int
			do   func(context.Context, *slot) error
		}{{r.cfg.restarted, r.restarted}, {r.cfg.gone, r.gone}, {r.cfg.scalings, r.scale}} {
			if i >= one.most {
				continue
			}
			if err := r.steady(ctx); err != nil {
				return err
			}
			// So that not each one dies at the same point of its second.
			pause(ctx, time.Duration(chance.IntN(1000))*time.Millisecond)
			if err := one.do(ctx, r.slots[turn%len(r.slots)]); err != nil {
				return err
			}
			turn++
		}
	}
	return r.steady(ctx)
}

// restarted kills a process whose slot is restarted at once.
func (r *run) restarted(ctx context.Context, s *slot) error {
	return r.takeover(ctx, s, "restarted")
}

// gone kills a process whose slot stays away, until its partitions have found others.
func (r *run) gone(ctx context.Context, s *slot) error {
	s.want(false)
	if err := r.takeover(ctx, s, "gone"); err != nil {
		return err
	}
	return r.returns(ctx, s)
}

// takeover kills a process and writes down what each of its partitions goes through.
func (r *run) takeover(ctx context.Context, s *slot, kind string) error {
	owners, err := r.owners(ctx)
	if err != nil {
		return err
	}
	died, ok := s.kill()
	if !ok {
		return fmt.Errorf("%s was to be killed, and had ended by itself: see exits.txt", s.name)
	}
	r.fault("worker-kill-"+kind, s.name, died)
	var lost []int32
	for p, owner := range owners {
		if s.instances()[owner] {
			lost = append(lost, p)
		}
	}
	deadline := r.now() + int64(time.Minute)
	for _, p := range lost {
		t := history.Takeover{Slot: s.name, Partition: p, Kind: kind, Died: died, Quiet: true}
		for {
			if t.Decided, ok = r.pulse.firstAfter(p, died); ok {
				break
			}
			if r.now() > deadline {
				return fmt.Errorf("partition %d was not decided in a minute after the death of %s (%s)", p, s.name, kind)
			}
			if !pause(ctx, 20*time.Millisecond) {
				return ctx.Err()
			}
		}
		if kind == "restarted" {
			t.Back = s.process().Started
		}
		r.out.Takeover(t)
		r.figures.takeover(t)
	}
	r.say("takeover of %s (%s): %d partitions, longest %s", s.name, kind, len(lost), r.figures.longest(kind, died))
	return nil
}

// scale ends a process in good order and starts it again.
func (r *run) scale(ctx context.Context, s *slot) error {
	s.want(false)
	from := r.now()
	p := s.process()
	r.fault("worker-term", s.name, from)
	if line, err := s.terminate(ctx, 30*time.Second); err != nil {
		return fmt.Errorf("ending %s in good order: %w: %s", s.name, err, line)
	}
	took := time.Duration(p.Died - from)
	if err := r.calm(ctx, s, "left", from); err != nil {
		return err
	}
	r.say("%s left: it ended after %s", s.name, took)
	return r.returns(ctx, s)
}

// returns starts a slot's process and writes down what all partitions go through as it joins.
func (r *run) returns(ctx context.Context, s *slot) error {
	if !pause(ctx, 2*time.Second) { // what is waited for from now on is of the return
		return ctx.Err()
	}
	from := r.now()
	s.want(true)
	if err := r.steady(ctx); err != nil {
		return err
	}
	return r.calm(ctx, s, "joined", from)
}

// calm waits until commands flow again and writes down how long those waited at most that were sent since
// a scaling began.
func (r *run) calm(ctx context.Context, s *slot, kind string, from int64) error {
	for began := r.now(); ; {
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
		err := r.flows(r.cfg.calm+time.Second, r.cfg.calm)
		if err == nil && r.now()-from > int64(3*time.Second) {
			break
		}
		if r.now()-began > int64(time.Minute) {
			return fmt.Errorf("commands do not flow a minute after %s %s: %w", s.name, kind, err)
		}
	}
	for p := range r.cfg.partitions {
		w := history.Scaling{Slot: s.name, Kind: kind, At: from, Partition: int32(p), Waited: int64(r.pulse.longest(p, from, r.now()))}
		r.out.Scaling(w)
		r.figures.scaling(w)
	}
	return nil
}

// fault writes down what struck.
func (r *run) fault(kind, target string, at int64) {
	r.out.Fault(history.Fault{At: at, Kind: kind, Target: target})
	r.figures.fault(kind)
	r.say("fault %s %s", kind, target)
}

// freeze stops a process for a while and continues it.
func (r *run) freeze(ctx context.Context, p *process.Process, kind, target string, d time.Duration) {
	if !p.Signal(syscall.SIGSTOP) {
		return
	}
	r.fault(kind, target, r.now())
	pause(ctx, d)
	p.Signal(syscall.SIGCONT)
}
