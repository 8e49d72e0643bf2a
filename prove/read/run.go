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

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
	"github.com/ledgerline/ledgerline/prove/topics"
)

const (
	// patience is how long things may take that always come right: a start, a group that gathers, what was
	// sent to be decided, a read model to be built and caught up.
	patience = 3 * time.Minute

	group         = "prove.ingest"
	commandsTopic = "tally.commands"
	eventsTopic   = "tally.events"
)

// run is one run, from its start to its close.
type run struct {
	cfg   config
	began time.Time
	out   *history.Writer
	stack *stack.Stack
	redis *redisService
	store *store
	// ingest and processors are kept running; verbs counts calls of the rebuild binary.
	ingest     *keeper
	processors []*keeper
	verbs      int
	load       *load
	sampler    *sampler
	// clients are told by stop to come to their end, and waited for.
	stop    context.CancelFunc
	clients sync.WaitGroup
	release func()
	dumped  bool
}

// start starts services and processes. It returns what there is to close with the error.
func start(ctx context.Context, c config) (*run, error) {
	r := &run{cfg: c, began: time.Now()}
	var err error
	r.out, err = history.Create(c.dir, history.Run{
		Kind: "read", Mode: c.mode, Seed: c.seed, Partitions: int32(c.partitions),
		Again: fmt.Sprintf("SEED=%d RUNS=1 prove/run read %s", c.seed, c.mode),
		Kinds: append(modes[c.mode].faults(), processorKill, rebuildKill),
	})
	if err != nil {
		return nil, err
	}
	if err := process.Build(ctx, c.dir, "ingest", "processor", "rebuild", "provision"); err != nil {
		return r, err
	}
	r.say("starting services")
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if r.stack, err = stack.Start(ctx, stack.Config{Provider: stack.Native, Dir: filepath.Join(c.dir, "stack"), Log: log}); err != nil {
		return r, err
	}
	const processors = 2
	ports, release, err := stack.ReservePorts(redisPorts + 2*(1+processors))
	if err != nil {
		return r, err
	}
	r.release = release
	if r.redis, err = startRedis(ctx, r, ports[:redisPorts]); err != nil {
		return r, err
	}
	ports = ports[redisPorts:]
	if r.store, err = openStore(r.redis.url()); err != nil {
		return r, err
	}
	if err := process.Provision(ctx, c.dir, c.partitions, r.connect()); err != nil {
		return r, err
	}
	r.ingest = keep(r, "ingest", "ingest", ports[:2], "--instance", "i1", "--workers", "1")
	if c.memory > 0 {
		r.load, err = newLoad(r)
		return r, err
	}
	for n := range processors {
		r.processors = append(r.processors, keep(r, fmt.Sprintf("processor-%d", n+1), "processor", ports[2*n+2:2*n+4]))
	}
	return r, r.preload(ctx)
}

// preload waits for all processes, and has as many commands decided as a rebuild needs to be killed in.
func (r *run) preload(ctx context.Context) error {
	var err error
	if r.load, err = newLoad(r); err != nil {
		return err
	}
	if err := r.usable(ctx); err != nil {
		return err
	}
	if err := r.load.burst(ctx, r.cfg.preload, r.load.command); err != nil {
		return err
	}
	r.say("%d commands are sent", r.cfg.preload)
	if err := r.decided(ctx); err != nil {
		return err
	}
	return r.caughtUp(ctx)
}

// all is the run's course.
func (r *run) all(ctx context.Context) error {
	live, stop := context.WithCancel(ctx)
	r.stop = stop
	r.clients.Go(func() { r.load.run(live) })
	for n := range r.cfg.readers {
		r.clients.Go(func() { r.reader(live, n) })
	}
	r.sampler = startSampler(r)
	wrong := r.breakThings(ctx)
	if wrong == nil {
		wrong = r.breakQuietly(ctx)
	}
	parts := []func(context.Context) error{r.quiet, r.caughtUp, r.dump, r.end}
	if wrong != nil { // there was patience enough
		parts = []func(context.Context) error{r.quiet, r.dump, r.end}
	}
	for _, part := range parts {
		if ctx.Err() != nil {
			return errors.Join(wrong, ctx.Err())
		}
		if err := part(ctx); err != nil {
			// What there is at the end is worth having, whatever went wrong before.
			r.say("wrong: %v", err)
			wrong = errors.Join(wrong, err)
		}
	}
	return wrong
}

// quiet ends the load and the readers, and waits until all that was sent is decided.
func (r *run) quiet(ctx context.Context) error {
	r.stop()
	r.clients.Wait()
	return r.decided(ctx)
}

// decided waits until all that was sent is decided.
func (r *run) decided(ctx context.Context) error {
	return r.await(ctx, "the decision of everything", func(ctx context.Context) error {
		return topics.Decided(ctx, r.stack, commandsTopic, group)
	})
}

// usable waits until every process is ready, which processors are once each model has an active generation.
func (r *run) usable(ctx context.Context) error {
	return r.await(ctx, "the processes", func(ctx context.Context) error {
		for _, k := range r.keepers() {
			if err := k.ready(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// caughtUp waits until every bucket of the active generations has the whole log.
func (r *run) caughtUp(ctx context.Context) error { return r.within(ctx, 0) }

// within waits until the active generations lack so many offsets at most.
func (r *run) within(ctx context.Context, most int64) error {
	return r.await(ctx, "read models that have caught up", func(ctx context.Context) error {
		ends, err := topics.Ends(ctx, r.stack, eventsTopic)
		if err != nil {
			return err
		}
		for _, m := range models {
			c, err := r.store.catalog(ctx, m)
			if err != nil {
				return err
			}
			g, ok := c.generations[c.active]
			if !ok {
				return fmt.Errorf("%s has no active generation", m.name)
			}
			at, err := r.store.checkpoints(ctx, m, g)
			if err != nil {
				return err
			}
			if lacks := m.lacks(at, g.Buckets, ends); lacks > most {
				return fmt.Errorf("generation %s of %s lacks %d offsets", g.ID, m.name, lacks)
			}
		}
		return nil
	})
}

func (r *run) await(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, what, nil, try)
}

// dump writes down the log and what is in Redis.
func (r *run) dump(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := topics.Dump(ctx, r.stack, r.out.Record, eventsTopic); err != nil {
		return err
	}
	for _, m := range models {
		if err := r.store.dump(ctx, m, r.out.Stored); err != nil {
			return err
		}
	}
	r.dumped = true
	return nil
}

// end has each process end in good order, with exit code 0.
func (r *run) end(context.Context) error {
	var wrong error
	for _, k := range r.keepers() {
		wrong = errors.Join(wrong, k.end())
	}
	return wrong
}

// close ends everything that is still there, and writes the history's end.
func (r *run) close() {
	if r.stop != nil {
		r.stop()
		r.clients.Wait()
	}
	if r.sampler != nil {
		r.sampler.close()
	}
	if r.load != nil {
		r.load.cl.Close()
	}
	for _, k := range r.keepers() {
		if k != nil {
			k.close()
		}
	}
	if r.store != nil {
		_ = r.store.client.Close()
	}
	if r.redis != nil {
		r.redis.close()
	}
	if r.stack != nil {
		if err := r.stack.Close(); err != nil {
			r.say("closing the services: %v", err)
		}
		// What the broker holds is in the dump; its log tells why.
		_ = os.RemoveAll(filepath.Join(r.cfg.dir, "stack", string(stack.Broker(1)), "data"))
	}
	if r.release != nil {
		r.release()
	}
	for _, binary := range []string{"ingest", "processor", "rebuild", "provision"} {
		_ = os.Remove(filepath.Join(r.cfg.dir, binary))
	}
	end := r.out.Close
	if !r.dumped { // without the log there is nothing to judge by
		end = r.out.Abandon
	}
	if err := end(); err != nil {
		r.say("%v", err)
	}
}

// keepers are those of all processes.
func (r *run) keepers() []*keeper { return append([]*keeper{r.ingest}, r.processors...) }

// connect returns the flags that reach the services.
func (r *run) connect() []string {
	return []string{"--brokers", strings.Join(r.stack.Brokers, ","), "--registry-url", r.stack.RegistryURL, "--redis-url", r.redis.url()}
}

// now is the run's clock: nanoseconds since its start.
func (r *run) now() int64 { return time.Since(r.began).Nanoseconds() }

// say tells a person what happens.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "read %7.2fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// fault writes down what struck.
func (r *run) fault(kind, target string, at int64) {
	r.out.Fault(history.Fault{At: at, Kind: kind, Target: target})
	r.say("fault %s %s", kind, target)
}

// chance returns the chance of one part of the run: the same for a seed and a name.
func (r *run) chance(name string) *rand.Rand {
	h := r.cfg.seed
	for _, b := range []byte(name) {
		h = h*1099511628211 ^ uint64(b)
	}
	return rand.New(rand.NewPCG(r.cfg.seed, h))
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

// seconds is a time of chance between two numbers of seconds.
func seconds(chance *rand.Rand, least, most float64) time.Duration {
	return time.Duration((least + chance.Float64()*(most-least)) * float64(time.Second))
}
