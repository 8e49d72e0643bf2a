package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/ledgerline/ledgerline/prove/process"
)

// The kinds of faults that every run has, beside its mode's.
const (
	processorKill = "processor-kill"
	rebuildKill   = "rebuild-kill"
)

// near is how many offsets read models may lack for the next fault to come.
const near = 3000

// mode is a way to break Redis.
type mode struct {
	// prepare begins what a strike ends: what is written in between may be lost. It is nil if there is nothing.
	prepare func(r *run, ctx context.Context) error
	// strikes break Redis, in turn, and return once it answers again.
	strikes []strike
}

type strike struct {
	fault string // its kind
	do    func(r *run, ctx context.Context, chance *rand.Rand) error
}

var modes = map[string]mode{
	"flushall": {nil, []strike{{"redis-flushall", (*run).flushAll}}},
	"kill-aof": {nil, []strike{{"redis-kill", (*run).killRedis}}},
	"kill-rdb": {(*run).saveRedis, []strike{{"redis-kill", (*run).killRedis}}},
	"replica":  {(*run).leaveReplica, []strike{{"redis-promote", (*run).promoteReplica}}},
	"cluster":  {nil, []strike{{"redis-migrate", (*run).migrate}, {"redis-failover", (*run).failOver}, {"redis-restart", (*run).restartMaster}}},
}

// faults are the kinds of a mode.
func (m mode) faults() (kinds []string) {
	for _, s := range m.strikes {
		kinds = append(kinds, s.fault)
	}
	return kinds
}

// breakThings has Redis broken and rebuild jobs killed, in turn so that what a rebuild finds is its own doing,
// and processors killed beside all of it.
func (r *run) breakThings(ctx context.Context) error {
	killing, stop := context.WithCancel(ctx)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		r.killProcessors(killing)
	}()
	defer func() {
		stop()
		<-killed
	}()
	chance := r.chance(r.cfg.mode)
	for round := range r.cfg.rounds {
		pause(ctx, seconds(chance, 1, 3))
		if err := r.prepare(ctx); err != nil {
			return err
		}
		pause(ctx, seconds(chance, 0.2, 4))
		if err := r.strike(ctx, chance, round, "redis"); err != nil {
			return err
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
		for _, m := range models {
			if err := r.verb(ctx, m, "verify", m.name); err != nil {
				return err
			}
		}
		if round%2 == 1 {
			if err := r.rebuild(ctx, chance); err != nil {
				return err
			}
		}
	}
	return nil
}

// breakQuietly breaks Redis when no event comes any more and no processor starts: nothing but a look at what
// is stored tells that it is not what it was.
func (r *run) breakQuietly(ctx context.Context) error {
	chance := r.chance("quiet")
	if err := r.prepare(ctx); err != nil {
		return err
	}
	pause(ctx, seconds(chance, 1, 3))
	r.stop()
	r.clients.Wait()
	if err := errors.Join(r.decided(ctx), r.caughtUp(ctx)); err != nil {
		return err
	}
	return r.strike(ctx, chance, len(modes[r.cfg.mode].strikes)-1, "redis, without load")
}

func (r *run) prepare(ctx context.Context) error {
	if prepare := modes[r.cfg.mode].prepare; prepare != nil {
		return prepare(r, ctx)
	}
	return nil
}

// strike breaks Redis as it is the round's turn.
func (r *run) strike(ctx context.Context, chance *rand.Rand, round int, target string) error {
	strikes, at := modes[r.cfg.mode].strikes, r.now()
	s := strikes[round%len(strikes)]
	r.say("%s begins", s.fault)
	if err := s.do(r, ctx, chance); err != nil {
		return err
	}
	r.fault(s.fault, target, at)
	return nil
}

// settled waits until queries are answered of read models that are almost at the log's end.
func (r *run) settled(ctx context.Context) error {
	began := r.now()
	if err := errors.Join(r.usable(ctx), r.within(ctx, near)); err != nil {
		return err
	}
	r.say("settled after %.1f s", float64(r.now()-began)/1e9)
	return nil
}

// killProcessors kills one after the other, at times of chance.
func (r *run) killProcessors(ctx context.Context) {
	chance := r.chance("processors")
	for pause(ctx, seconds(chance, 4, 12)) {
		k := r.processors[chance.IntN(len(r.processors))]
		if at := r.now(); k.kill() {
			r.fault(processorKill, k.name, at)
		}
	}
}

func (r *run) flushAll(ctx context.Context, _ *rand.Rand) error {
	if err := r.redis.servers[0].client.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("flushing Redis: %w", err)
	}
	return nil
}

func (r *run) killRedis(ctx context.Context, chance *rand.Rand) error {
	s := r.redis.servers[0]
	s.kill()
	pause(ctx, seconds(chance, 0, 3))
	return s.start(ctx)
}

func (r *run) saveRedis(ctx context.Context) error { return r.redis.servers[0].save(ctx) }

// leaveReplica leaves the replica behind: from now on it lacks what is written.
func (r *run) leaveReplica(ctx context.Context) error {
	return r.redis.servers[1-r.redis.master].lead(ctx)
}

// promoteReplica kills the master, has the processes find the replica in its place, and makes the master, which
// comes back empty, its replica.
func (r *run) promoteReplica(ctx context.Context, chance *rand.Rand) error {
	s := r.redis
	before, after := s.servers[s.master], s.servers[1-s.master]
	before.kill()
	s.proxy.use("")
	pause(ctx, seconds(chance, 0, 2))
	s.proxy.use(process.Local(after.port))
	s.master = 1 - s.master
	if err := before.start(ctx); err != nil {
		return err
	}
	return before.follow(ctx, after)
}
