package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// A cluster has masters, and a replica of each.
const (
	clusterMasters = 3
	clusterNodes   = 2 * clusterMasters
	clusterSlots   = 16384
)

// join makes a cluster of the servers and returns once every node knows all of it.
func (s *redisService) join(ctx context.Context) error {
	ids := make([]string, len(s.servers))
	for i, one := range s.servers {
		var err error
		if ids[i], err = one.do(ctx, "CLUSTER", "MYID"); err != nil {
			return err
		}
		if _, err := one.do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1); err != nil {
			return err
		}
		if i >= clusterMasters {
			continue
		}
		if _, err := one.do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1); err != nil {
			return err
		}
	}
	for _, one := range s.servers[1:] {
		if _, err := s.servers[0].do(ctx, "CLUSTER", "MEET", "127.0.0.1", one.port, one.bus); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, one := range s.servers[clusterMasters:] {
		err := stack.Await(ctx, "the cluster", one.process.Ended, func(ctx context.Context) error {
			_, err := one.do(ctx, "CLUSTER", "REPLICATE", ids[i])
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.whole(ctx)
}

// whole waits until every node sees the whole cluster, in which each master has a replica that has caught up.
func (s *redisService) whole(ctx context.Context) error {
	return stack.Await(ctx, "the cluster", nil, func(ctx context.Context) error {
		masters := 0
		for _, one := range s.servers {
			info, err := one.do(ctx, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", clusterNodes)) {
				return fmt.Errorf("%s sees %q", one.name, info)
			}
			role, err := one.client.InfoMap(ctx, "replication").Result()
			if err != nil {
				return err
			}
			r := role["Replication"]
			switch {
			case r["role"] == "master" && r["connected_slaves"] != "1":
				return fmt.Errorf("%s has %s replicas", one.name, r["connected_slaves"])
			case r["role"] == "master":
				masters++
			case r["master_link_status"] != "up" || r["master_sync_in_progress"] != "0":
				return fmt.Errorf("the link of %s is %s", one.name, r["master_link_status"])
			}
		}
		if masters != clusterMasters {
			return fmt.Errorf("there are %d masters", masters)
		}
		return nil
	})
}

// do sends a command to this server.
func (s *server) do(ctx context.Context, args ...any) (string, error) {
	answer, err := s.client.Do(ctx, args...).Result()
	if err != nil {
		return "", fmt.Errorf("asking %s for %v: %w", s.name, args, err)
	}
	return fmt.Sprint(answer), nil
}

// master is a server that is one, with its id in the cluster.
type master struct {
	*server
	id string
}

func (s *redisService) masters(ctx context.Context) (found []master, err error) {
	for _, one := range s.servers {
		info, err := one.client.InfoMap(ctx, "replication").Result()
		if err != nil {
			return nil, fmt.Errorf("asking %s for its role: %w", one.name, err)
		}
		if info["Replication"]["role"] != "master" {
			continue
		}
		id, err := one.do(ctx, "CLUSTER", "MYID")
		if err != nil {
			return nil, err
		}
		found = append(found, master{one, id})
	}
	return found, nil
}

// failOver kills a master, waits for its replica to take its place, and starts it again, as a replica.
func (r *run) failOver(ctx context.Context, chance *rand.Rand) error {
	dead, err := r.killMaster(ctx, chance)
	if err != nil {
		return err
	}
	err = r.await(ctx, "the replica of "+dead.name+" to take its place", func(ctx context.Context) error {
		rest := &redisService{servers: slices.DeleteFunc(slices.Clone(r.redis.servers), func(s *server) bool { return s == dead })}
		masters, err := rest.masters(ctx)
		if err == nil && len(masters) < clusterMasters {
			err = fmt.Errorf("there are %d masters", len(masters))
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.comeBack(ctx, dead)
}

// restartMaster kills a master and starts it again at once, before anybody has taken its place: with nothing.
func (r *run) restartMaster(ctx context.Context, chance *rand.Rand) error {
	dead, err := r.killMaster(ctx, chance)
	if err != nil {
		return err
	}
	return r.comeBack(ctx, dead)
}

func (r *run) killMaster(ctx context.Context, chance *rand.Rand) (*server, error) {
	masters, err := r.redis.masters(ctx)
	if err != nil {
		return nil, err
	}
	dead := masters[chance.IntN(len(masters))].server
	dead.kill()
	r.say("%s is killed", dead.name)
	return dead, nil
}

func (r *run) comeBack(ctx context.Context, dead *server) error {
	if err := dead.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.redis.whole(ctx)
}

// migrate moves the slots of some buckets and of a catalog to other masters, key by key and slowly, so that
// what belongs together lies on two nodes meanwhile.
func (r *run) migrate(ctx context.Context, chance *rand.Rand) error {
	var keys []string
	for _, m := range models {
		c, err := r.store.catalog(ctx, m)
		if err != nil {
			return err
		}
		keys = append(keys, key(m, "active"))
		for _, n := range chance.Perm(c.generations[c.active].Buckets)[:2] {
			keys = append(keys, bucketTag(m, c.active)+strconv.Itoa(n)+"}:checkpoints")
		}
	}
	for _, k := range keys {
		slot, err := r.redis.servers[0].client.ClusterKeySlot(ctx, k).Result()
		if err != nil {
			return fmt.Errorf("asking for the slot of %s: %w", k, err)
		}
		if err := r.migrateSlot(ctx, chance, slot); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) migrateSlot(ctx context.Context, chance *rand.Rand, slot int64) error {
	masters, err := r.redis.masters(ctx)
	if err != nil {
		return err
	}
	owner, err := r.redis.ownerOf(ctx, slot)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(masters, func(m master) bool { return m.id == owner })
	if i < 0 || len(masters) < 2 {
		return fmt.Errorf("moving slot %d of %q: there are %d masters", slot, owner, len(masters))
	}
	source, target := masters[i], masters[(i+1+chance.IntN(len(masters)-1))%len(masters)]
	if _, err := target.do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id); err != nil {
		return err
	}
	if _, err := source.do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", target.id); err != nil {
		return err
	}
	moved := 0
	for {
		keys, err := source.client.ClusterGetKeysInSlot(ctx, int(slot), 1).Result()
		if err != nil {
			return fmt.Errorf("listing the keys of slot %d: %w", slot, err)
		}
		if len(keys) == 0 {
			break
		}
		// One that is there already was put there by somebody who did not name it: that must not stop the move.
		if _, err := source.do(ctx, "MIGRATE", "127.0.0.1", target.port, keys[0], 0, 10000, "REPLACE"); err != nil {
			return err
		}
		moved++
		pause(ctx, seconds(chance, 0.1, 0.8))
	}
	// The target first: else nobody has the slot for a moment.
	for _, one := range append([]master{target, source}, masters...) {
		if _, err := one.do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", target.id); err != nil {
			return err
		}
	}
	r.say("slot %d with %d keys is moved from %s to %s", slot, moved, source.name, target.name)
	return nil
}

// ownerOf returns the id of the master that has a slot.
func (s *redisService) ownerOf(ctx context.Context, slot int64) (string, error) {
	shards, err := s.servers[0].client.ClusterShards(ctx).Result()
	if err != nil {
		return "", fmt.Errorf("asking for the slots: %w", err)
	}
	for _, shard := range shards {
		if slices.ContainsFunc(shard.Slots, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End }) {
			for _, n := range shard.Nodes {
				if n.Role == "master" && n.Health == "online" {
					return n.ID, nil
				}
			}
		}
	}
	return "", fmt.Errorf("nobody has slot %d", slot)
}
