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
	// fault is its kind.
	fault string
	// strike breaks Redis and returns once it answers again.
	strike func(r *run, ctx context.Context, chance *rand.Rand) error
}

var modes = map[string]mode{
	"flushall": {"redis-flushall", (*run).flushAll},
	"kill-aof": {"redis-kill", (*run).killRedis},
	"kill-rdb": {"redis-kill", (*run).killSaved},
	"replica":  {"redis-promote", (*run).promoteReplica},
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
		pause(ctx, seconds(chance, 1, 4))
		at := r.now()
		if err := modes[r.cfg.mode].strike(r, ctx, chance); err != nil {
			return err
		}
		r.fault(modes[r.cfg.mode].fault, "redis", at)
		if err := r.settled(ctx); err != nil {
			return fmt.Errorf("after redis was broken at %.1f s: %w", float64(at)/1e9, err)
		}
		if round%2 == 1 {
			if err := r.rebuild(ctx, chance); err != nil {
				return err
			}
		}
	}
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

// killSaved kills Redis seconds after a save point.
func (r *run) killSaved(ctx context.Context, chance *rand.Rand) error {
	if err := r.redis.servers[0].save(ctx); err != nil {
		return err
	}
	pause(ctx, seconds(chance, 0.3, 5))
	return r.killRedis(ctx, chance)
}

// promoteReplica promotes the replica after its master has gone on without it for a while, and makes the
// master, killed, empty and started again, its replica.
func (r *run) promoteReplica(ctx context.Context, chance *rand.Rand) error {
	s := r.redis
	before, after := s.servers[s.master], s.servers[1-s.master]
	if err := after.lead(ctx); err != nil { // from now on it lacks what is written
		return err
	}
	pause(ctx, seconds(chance, 0.2, 3))
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
