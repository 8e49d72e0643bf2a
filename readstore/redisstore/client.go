package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout = 5 * time.Second
	// answerTimeout leaves room for the scripts of a bulk build that queue before ours.
	answerTimeout = 15 * time.Second
)

// quiet drops what the client library writes to stderr on its own: every error comes back to a caller,
// who logs or returns it.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// NewClient returns a client for a URL: redis://[user:password@]host[:port][/db], rediss:// for TLS, or
// unix://path. One or more ?addr=host:port make it a cluster's client. It uses no network yet; the
// caller closes it. Its commands honour the deadlines of contexts and end within a minute without one.
func NewClient(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:6379", withoutURL(err))
	}
	if u.Query().Has("addr") {
		options, err := redis.ParseClusterURL(address)
		if err != nil {
			return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:7000?addr=localhost:7001", withoutURL(err))
		}
		options.DialTimeout, options.ReadTimeout, options.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
		options.ContextTimeoutEnabled = true
		options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("reading the Redis URL: %w: type it like redis://localhost:6379", withoutURL(err))
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
	options.ContextTimeoutEnabled = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(options), nil
}

// withoutURL takes the URL out of an error, because it may hold a password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Check asks every master whether read models are safe there. It refuses a replica, and a server that
// evicts keys when its memory is full; what a server does not let it ask, it takes as well.
func (s *Store) Check(ctx context.Context) error {
	return s.eachMaster(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		if err := client.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("reaching Redis: %w", err)
		}
		role, err := client.Do(ctx, "ROLE").Slice()
		if err != nil && !isAnswer(err) {
			return fmt.Errorf("asking Redis for its role: %w", err)
		}
		if len(role) > 0 && fmt.Sprint(role[0]) == "slave" {
			return errors.New("this Redis is a replica, which may be behind: set --redis-url to its master")
		}
		settings, err := client.ConfigGet(ctx, "maxmemory*").Result()
		if err != nil && !isAnswer(err) {
			return fmt.Errorf("asking Redis for its settings: %w", err)
		}
		policy := settings["maxmemory-policy"]
		if limit := settings["maxmemory"]; limit != "" && limit != "0" && policy != "noeviction" {
			return fmt.Errorf("redis may evict read models (maxmemory %s, maxmemory-policy %s): type redis-cli CONFIG SET maxmemory-policy noeviction", limit, policy)
		}
		return nil
	})
}

// isAnswer tells an error that the server answered from one of the network or the context.
func isAnswer(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

// eachMaster runs visit on the server or, in parallel, on every master of the cluster.
func (s *Store) eachMaster(ctx context.Context, visit func(ctx context.Context, client redis.UniversalClient) error) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error { return visit(ctx, client) })
	}
	return visit(ctx, s.client)
}
