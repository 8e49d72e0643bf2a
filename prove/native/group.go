package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/topics"
)

// owners returns which member of the group has each partition of the commands, by its instance id. It
// fails while the group gathers.
func (r *run) owners(ctx context.Context) (map[int32]string, error) {
	owners := map[int32]string{}
	err := topics.Admin(r.stack, func(a *kadm.Client) error {
		groups, err := a.DescribeGroups(ctx, r.group)
		if err != nil {
			return err
		}
		g, err := groups.On(r.group, nil)
		if err != nil {
			return err
		}
		if g.State != "Stable" {
			return fmt.Errorf("group %s is %s", r.group, g.State)
		}
		for _, m := range g.Members {
			assigned, ok := m.Assigned.AsConsumer()
			if !ok || m.InstanceID == nil {
				continue
			}
			for _, t := range assigned.Topics {
				for _, p := range t.Partitions {
					owners[p] = *m.InstanceID
				}
			}
		}
		if len(owners) != r.cfg.partitions {
			return fmt.Errorf("%d of %d partitions have an owner", len(owners), r.cfg.partitions)
		}
		return nil
	})
	return owners, err
}

// steady returns once every process is ready, every worker has partitions, and everything sent in the last
// second and a half was decided within one.
func (r *run) steady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, "a steady group", nil, func(ctx context.Context) error {
		for _, s := range r.slots {
			if err := s.ready(ctx); err != nil {
				return err
			}
		}
		owners, err := r.owners(ctx)
		if err != nil {
			return err
		}
		busy := map[string]bool{}
		for _, o := range owners {
			busy[o] = true
		}
		if want := len(r.slots) * r.cfg.workers; len(busy) != want {
			return fmt.Errorf("%d of %d workers have partitions", len(busy), want)
		}
		return r.flows(r.cfg.calm+500*time.Millisecond, r.cfg.calm)
	})
}

// flows returns nil if no command of the pulse that was sent within the last while waited for longer than
// most, the last 300 ms left out.
func (r *run) flows(while, most time.Duration) error {
	now := r.now()
	from := now - int64(while)
	if slowest := r.pulse.slowest(from, now-int64(300*time.Millisecond)); slowest > most {
		return fmt.Errorf("a command of late waited for %s", slowest)
	}
	// What was sent before may wait still.
	if first := r.pulse.oldest(); first < from {
		return fmt.Errorf("a command waits for %s", time.Duration(now-first))
	}
	return nil
}

// settle waits until all that was sent is decided, once nothing is at fault any more.
func (r *run) settle(ctx context.Context) error {
	r.stopClients()
	r.clients.Wait()
	r.pulse.stop()
	ctx, cancel := context.WithTimeout(ctx, deciding)
	defer cancel()
	began := r.now()
	if err := stack.Await(ctx, "the decision of everything", nil, func(ctx context.Context) error {
		return topics.Decided(ctx, r.stack, commandsTopic, r.group)
	}); err != nil {
		return err
	}
	r.say("everything is decided after %.1f s", float64(r.now()-began)/1e9)
	return nil
}
