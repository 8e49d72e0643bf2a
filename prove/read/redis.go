package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/e2e/native"
	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/process"
)

// redisService is the Redis that the processes use: one server, a master and a replica behind a proxy, or a
// cluster.
type redisService struct {
	r       *run
	servers []*server
	// master is the place in servers of the one that is written to.
	master int
	proxy  *proxy // nil unless there is one replica
}

// redisPorts is how many ports a service needs at most.
const redisPorts = 2 * clusterNodes

// server is a redis-server of the run's own: it is killed and comes back with what it finds on its disk.
type server struct {
	r       *run
	name    string
	port    int
	bus     int // of a cluster's node
	program string
	config  string
	client  *redis.Client
	process *process.Process
}

func startRedis(ctx context.Context, r *run, ports []int) (*redisService, error) {
	installed, err := native.Find()
	if err != nil {
		return nil, err
	}
	s := &redisService{r: r}
	appendOnly, names := "no", []string{"redis-1"}
	switch r.cfg.mode {
	case "kill-aof":
		appendOnly = "yes"
	case "replica":
		names = append(names, "redis-2")
	case "cluster":
		for i := 2; i <= clusterNodes; i++ {
			names = append(names, fmt.Sprintf("redis-%d", i))
		}
	}
	for i, name := range names {
		one := &server{r: r, name: name, port: ports[i], program: installed.RedisServer}
		if r.cfg.mode == "cluster" {
			one.bus = ports[clusterNodes+i]
		}
		one.client = redis.NewClient(&redis.Options{Addr: process.Local(one.port), MaxRetries: -1, ContextTimeoutEnabled: true})
		s.servers = append(s.servers, one)
		if err := one.configure(appendOnly); err != nil {
			return s, err
		}
		if err := one.start(ctx); err != nil {
			return s, err
		}
	}
	if r.cfg.mode == "cluster" {
		return s, s.join(ctx)
	}
	if len(s.servers) > 1 {
		if s.proxy, err = startProxy(ports[2]); err != nil {
			return s, err
		}
		s.proxy.use(process.Local(s.servers[0].port))
		return s, s.servers[1].follow(ctx, s.servers[0])
	}
	return s, nil
}

// url is where the processes find Redis.
func (s *redisService) url() string {
	if s.proxy != nil {
		return "redis://" + s.proxy.address()
	}
	url := "redis://" + process.Local(s.servers[0].port)
	for i, one := range s.servers[1:] {
		url += string("?&"[min(i, 1)]) + "addr=" + process.Local(one.port)
	}
	return url
}

func (s *redisService) close() {
	if s.proxy != nil {
		s.proxy.close()
	}
	for _, one := range s.servers {
		one.kill()
		_ = one.client.Close()
	}
}

func (s *server) configure(appendOnly string) error {
	dir := filepath.Join(s.r.cfg.dir, s.name)
	s.config = filepath.Join(dir, "redis.conf")
	settings := []string{
		"bind 127.0.0.1", "port " + strconv.Itoa(s.port), fmt.Sprintf("dir %q", dir), `save ""`, "maxmemory-policy noeviction",
		"appendonly " + appendOnly, "appendfsync everysec", "repl-diskless-sync-delay 0",
	}
	if s.bus > 0 {
		settings = append(settings, "cluster-enabled yes", "cluster-port "+strconv.Itoa(s.bus), "cluster-node-timeout 2000", "cluster-replica-validity-factor 0")
	}
	if err := errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(s.config, []byte(strings.Join(settings, "\n")+"\n"), 0o600)); err != nil {
		return fmt.Errorf("configuring %s: %w", s.name, err)
	}
	return nil
}

// start starts the server and returns once it answers, with all that was on its disk.
func (s *server) start(ctx context.Context) error {
	var err error
	s.process, err = process.Start(filepath.Join(s.r.cfg.dir, s.name+".log"), s.r.now, s.program, s.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, s.name, s.process.Ended, func(ctx context.Context) error { return s.client.Ping(ctx).Err() })
}

// kill kills the server, with SIGKILL.
func (s *server) kill() {
	if s.process != nil {
		s.process.End()
	}
}

// save makes a save point.
func (s *server) save(ctx context.Context) error {
	before, err := s.client.LastSave(ctx).Result()
	if err == nil {
		err = s.client.BgSave(ctx).Err()
	}
	if err != nil {
		return fmt.Errorf("making a save point of %s: %w", s.name, err)
	}
	for ctx.Err() == nil {
		info, err := s.client.InfoMap(ctx, "persistence").Result()
		if err != nil {
			return fmt.Errorf("making a save point of %s: %w", s.name, err)
		}
		p := info["Persistence"]
		if p["rdb_bgsave_in_progress"] == "0" {
			if p["rdb_last_bgsave_status"] != "ok" {
				return fmt.Errorf("making a save point of %s: %s", s.name, p["rdb_last_bgsave_status"])
			}
			s.r.say("save point of %s (before that: %s)", s.name, time.Unix(before, 0).UTC().Format(time.TimeOnly))
			return nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	return ctx.Err()
}

// follow makes the server a replica of another, and returns once it has all that the other has.
func (s *server) follow(ctx context.Context, master *server) error {
	if err := s.client.ReplicaOf(ctx, "127.0.0.1", strconv.Itoa(master.port)).Err(); err != nil {
		return fmt.Errorf("making %s a replica: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Await(ctx, s.name+" as a replica", s.process.Ended, func(ctx context.Context) error {
		info, err := s.client.InfoMap(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if r := info["Replication"]; r["master_link_status"] != "up" || r["master_sync_in_progress"] != "0" {
			return fmt.Errorf("its link is %s", r["master_link_status"])
		}
		return nil
	})
}

// lead ends the server's being a replica: what it lacks, it lacks for good.
func (s *server) lead(ctx context.Context) error {
	if err := s.client.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		return fmt.Errorf("promoting %s: %w", s.name, err)
	}
	return nil
}
