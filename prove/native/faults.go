package main

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// breakThings is the part of the run in which workers and brokers are at fault: two workers at most and one
// broker at a time. What is broken is mended before it returns.
func (r *run) breakThings(ctx context.Context) error {
	if r.cfg.faults == 0 {
		return nil
	}
	r.say("faults begin")
	r.pulse.slow.Store(true)
	limit, cancel := context.WithTimeout(ctx, r.cfg.faults)
	defer cancel()
	free := make(chan *slot, len(r.slots))
	for _, s := range r.slots {
		free <- s
	}
	var parts sync.WaitGroup
	for _, name := range []string{"workers-1", "workers-2"} {
		parts.Go(func() { r.breakWorkers(limit, r.chance(name), free) })
	}
	failed := make(chan error, 1)
	parts.Go(func() { failed <- r.breakBrokers(ctx, limit, r.chance("brokers")) })
	parts.Wait()
	r.say("faults end")
	if err := <-failed; err != nil {
		return err
	}
	return r.steadyWithoutPulse(ctx)
}

// deck deals kinds of faults in an order of chance, each as often as the others.
type deck struct {
	chance *rand.Rand
	kinds  []string
	left   []string
}

func (d *deck) next() string {
	if len(d.left) == 0 {
		d.left = append(d.left, d.kinds...)
		d.chance.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	kind := d.left[0]
	d.left = d.left[1:]
	return kind
}

// seconds is a time of chance between two numbers of seconds.
func seconds(chance *rand.Rand, least, most float64) time.Duration {
	return time.Duration((least + chance.Float64()*(most-least)) * float64(time.Second))
}

// breakWorkers does one thing after the other to one process after the other, until limit ends.
func (r *run) breakWorkers(limit context.Context, chance *rand.Rand, free chan *slot) {
	kinds := &deck{chance: chance, kinds: []string{
		"worker-kill", "worker-kill-late", "worker-stop-short", "worker-stop-long", "worker-term", "worker-twin", "worker-replaced",
	}}
	for pause(limit, seconds(chance, 0.5, 4)) {
		s := <-free
		r.breakWorker(limit, chance, kinds.next(), s)
		s.want(true)
		free <- s
	}
}

// breakWorker does one thing to a process, which is running as before when it returns, or will be soon.
func (r *run) breakWorker(limit context.Context, chance *rand.Rand, kind string, s *slot) {
	p := s.process()
	if p == nil || !p.Alive() {
		return // its supervisor waits: nothing would strike
	}
	switch kind {
	case "worker-kill": // restarted at once
		if at, ok := s.kill(); ok {
			r.fault(kind, s.name, at)
		}
	case "worker-kill-late":
		s.want(false)
		if at, ok := s.kill(); ok {
			r.fault(kind, s.name, at)
		}
		pause(limit, seconds(chance, 2, 15))
	case "worker-stop-short":
		r.freeze(limit, p, kind, s.name, seconds(chance, 0.5, 4.5))
	case "worker-stop-long":
		r.freeze(limit, p, kind, s.name, seconds(chance, 7, 14))
	case "worker-term":
		s.want(false)
		at := r.now()
		if p.Signal(syscall.SIGTERM) {
			r.fault(kind, s.name, at)
			p.Within(20 * time.Second)
		}
		pause(limit, seconds(chance, 0, 5))
	case "worker-twin": // two processes have one slot, until one is told so and ends
		r.twin(limit, kind, s, seconds(chance, 3, 8))
	case "worker-replaced": // frozen, and not there when somebody else takes its slot
		if p.Signal(syscall.SIGSTOP) {
			r.twin(limit, kind, s, seconds(chance, 1, 8))
			p.Signal(syscall.SIGCONT)
		}
	}
}

// twin starts a second process of a slot, and kills it after a while unless it has ended by itself.
func (r *run) twin(limit context.Context, kind string, s *slot, d time.Duration) {
	twin, err := r.launch(filepath.Join(r.cfg.dir, "ingest-"+s.name+"-twin.log"), s.name, s.ports[2], s.ports[3])
	if err != nil {
		r.note(s.name+"-twin", err.Error())
		return
	}
	r.fault(kind, s.name, r.now())
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-twin.Ended:
	case <-timer.C:
	case <-limit.Done():
	}
	twin.End()
	r.exited(s.name+"-twin", twin)
}

// breakBrokers does one thing after the other to one broker after the other, until limit ends. It returns
// once all of them have caught up.
func (r *run) breakBrokers(ctx, limit context.Context, chance *rand.Rand) error {
	kinds := &deck{chance: chance, kinds: []string{"broker-kill", "broker-stop", "broker-restart"}}
	brokers := &deck{chance: chance}
	for n := range len(r.stack.Brokers) {
		brokers.kinds = append(brokers.kinds, string(stack.Broker(n+1)))
	}
	for pause(limit, seconds(chance, 1, 5)) {
		if err := r.breakBroker(ctx, limit, chance, kinds.next(), stack.Service(brokers.next())); err != nil {
			return err
		}
	}
	return nil
}

// breakBroker does one thing to a broker and returns once it has caught up with all that it holds.
func (r *run) breakBroker(ctx, limit context.Context, chance *rand.Rand, kind string, b stack.Service) error {
	at := r.now()
	switch kind {
	case "broker-kill":
		if err := r.stack.Kill(ctx, b); err != nil {
			return err
		}
		r.fault(kind, string(b), at)
		pause(limit, seconds(chance, 0, 6))
		return r.stack.Restart(ctx, b)
	case "broker-restart": // in good order
		r.fault(kind, string(b), at)
		return r.stack.Restart(ctx, b)
	default:
		if err := r.stack.Stop(ctx, b); err != nil {
			return err
		}
		r.fault(kind, string(b), at)
		pause(limit, seconds(chance, 1, 10))
		if err := r.stack.Continue(ctx, b); err != nil {
			return err
		}
		return r.inSync(ctx, b)
	}
}

// inSync waits until a broker that was continued has caught up.
func (r *run) inSync(ctx context.Context, b stack.Service) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, string(b), nil, func(ctx context.Context) error {
		for n := range len(r.stack.Brokers) {
			if stack.Broker(n+1) == b {
				return r.stack.BrokerInSync(ctx, int32(n+1))
			}
		}
		return nil
	})
}

// steadyWithoutPulse waits until every process is ready again.
func (r *run) steadyWithoutPulse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, "the processes", nil, func(ctx context.Context) error {
		for _, s := range r.slots {
			if err := s.ready(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}
