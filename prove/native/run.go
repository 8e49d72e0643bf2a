package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
	"github.com/ledgerline/ledgerline/prove/topics"
)

const (
	// patience is how long things may take that always come right: a group that gathers, a start.
	patience = 3 * time.Minute
	// deciding is how long all that was sent may take to be decided once nothing is at fault.
	deciding = 3 * time.Minute
)

// run is one run, from its start to its close.
type run struct {
	cfg   config
	began time.Time
	out   *history.Writer
	stack *stack.Stack
	// group and the topics are those of the proofs' App.
	group string
	slots []*slot
	tail  *tail
	pulse *pulse
	// clients are told by stopClients to come to their end, and waited for.
	stopClients context.CancelFunc
	clients     sync.WaitGroup
	// kafkaClients are those of the ways by Kafka.
	kafkaClients []*kgo.Client
	repeats      repeats
	figures      figures
	release      func()
	whole        bool // its log is written down
}

const (
	commandsTopic = "tally.commands"
	outcomesTopic = "tally.outcomes"
)

// dumped are all topics.
var dumped = []string{commandsTopic, "tally.events", outcomesTopic, "tally.dead-letters"}

// start starts services, processes and clients. It returns what there is to close with the error.
func start(ctx context.Context, c config) (*run, error) {
	r := &run{cfg: c, began: time.Now(), group: "prove.ingest"}
	if c.workers == 0 {
		r.cfg.workers = 1 + r.chance("workers").IntN(2)
	}
	again := fmt.Sprintf("SEED=%d RUNS=1 prove/run write native", c.seed)
	var err error
	if r.out, err = history.Create(c.dir, history.Run{Kind: "native", Seed: c.seed, Partitions: int32(c.partitions), Again: again}); err != nil {
		return nil, err
	}
	if err := process.Build(ctx, c.dir, "ingest", "provision"); err != nil {
		return r, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	r.say("starting services")
	if r.stack, err = stack.Start(ctx, stack.Config{Provider: stack.Native, Brokers: 3, Dir: filepath.Join(c.dir, "stack"), Log: log}); err != nil {
		return r, err
	}
	if err := process.Provision(ctx, c.dir, c.partitions, r.connect()); err != nil {
		return r, err
	}
	ports, release, err := stack.ReservePorts(4 * c.processes)
	if err != nil {
		return r, err
	}
	r.release = release
	for n := range c.processes {
		r.slots = append(r.slots, newSlot(r, fmt.Sprintf("w%d", n+1), ports[4*n:4*n+4]))
	}
	for _, s := range r.slots {
		s.want(true)
		go s.supervise()
	}
	if r.tail, err = startTail(ctx, r); err != nil {
		return r, err
	}
	if r.pulse, err = startPulse(r); err != nil {
		return r, err
	}
	if err := r.startClients(); err != nil {
		return r, err
	}
	return r, r.steady(ctx)
}

// all is the run's course.
func (r *run) all(ctx context.Context) error {
	var wrong error
	for _, part := range []func(context.Context) error{r.quiet, r.breakThings, r.settle, r.sendAgain, r.settle, r.endProcesses, r.dump} {
		if err := part(ctx); err != nil {
			// What there is in the log is worth having, whatever went wrong before.
			wrong = errors.Join(wrong, err)
			r.say("wrong: %v", err)
		}
		if ctx.Err() != nil {
			return errors.Join(wrong, ctx.Err())
		}
	}
	return wrong
}

// close ends everything that is still there, leaves what is worth reading, and writes the history's end.
func (r *run) close() {
	if r.stopClients != nil {
		r.stopClients()
		r.clients.Wait()
	}
	for _, s := range r.slots {
		s.close()
	}
	if r.pulse != nil {
		r.pulse.close()
	}
	for _, cl := range r.kafkaClients {
		cl.Close()
	}
	if r.tail != nil {
		r.tail.close()
	}
	if r.stack != nil {
		if err := r.stack.Close(); err != nil {
			r.say("closing the services: %v", err)
		}
		// What the brokers hold is in the dump; their logs tell why.
		for n := range len(r.stack.Brokers) {
			_ = os.RemoveAll(filepath.Join(r.cfg.dir, "stack", string(stack.Broker(n+1)), "data"))
		}
	}
	if r.release != nil {
		r.release()
	}
	for _, binary := range []string{"ingest", "provision"} {
		_ = os.Remove(filepath.Join(r.cfg.dir, binary))
	}
	end := r.out.Close
	if !r.whole { // without the log there is nothing to judge by
		end = r.out.Abandon
	}
	if err := end(); err != nil {
		r.say("%v", err)
	}
}

// now is the run's clock: nanoseconds since its start.
func (r *run) now() int64 { return time.Since(r.began).Nanoseconds() }

// say tells a person what happens.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "native %7.2fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// chance returns the chance of one part of the run: the same for a seed and a name.
func (r *run) chance(name string) *rand.Rand {
	h := r.cfg.seed
	for _, b := range []byte(name) {
		h = h*1099511628211 ^ uint64(b)
	}
	return rand.New(rand.NewPCG(r.cfg.seed, h))
}

// connect returns the flags that reach the services.
func (r *run) connect() []string {
	return []string{"--brokers", strings.Join(r.stack.Brokers, ","), "--registry-url", r.stack.RegistryURL, "--redis-url", r.stack.RedisURL}
}

// pause waits for a while, and returns false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// endProcesses has each process end in good order: it must do so at once, with exit code 0.
func (r *run) endProcesses(ctx context.Context) error {
	r.stopClients()
	r.clients.Wait()
	r.pulse.stop()
	var wrong error
	for _, s := range r.slots {
		s.want(false)
		line, err := s.terminate(ctx, time.Minute)
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("ending %s at the end: %w: %s", s.name, err, line))
		}
	}
	return wrong
}

// dump writes down every committed record of every topic.
func (r *run) dump(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deciding)
	defer cancel()
	err := topics.Dump(ctx, r.stack, r.out.Record, dumped...)
	r.whole = err == nil
	return err
}

// launch starts an ingest process whose output, of all its lives, is appended to a file.
func (r *run) launch(output, instance string, http, admin int) (*process.Process, error) {
	args := append([]string{
		"serve", "--instance", instance, "--workers", fmt.Sprint(r.cfg.workers),
		"--http-addr", process.Local(http), "--admin-addr", process.Local(admin),
	}, r.connect()...)
	return process.Start(output, r.now, filepath.Join(r.cfg.dir, "ingest"), append(args, strings.Fields(r.cfg.flags)...)...)
}
