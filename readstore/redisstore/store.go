// Package redisstore keeps read models in Redis, for ledgerline and for any other Redis client.
//
// It owns the keys and the scripts. The keys are a public contract; <tag> is
// {<read model>.<generation>.<bucket>}, so that a bucket lies on one node of a cluster:
//
//	ledgerline:{<read model>}:active        string: the generation that readers use
//	ledgerline:{<read model>}:generations   hash: generation → JSON of readstore.Generation
//	ledgerline:{<read model>}:catalog       hash: standby, revision
//	ledgerline:<tag>:checkpoints            hash: source (order/3) → readstore.Checkpoint as text
//	ledgerline:<tag>:docs                   hash: document id → JSON
//	ledgerline:<tag>:sums                   hash: id/field → whole number
//	ledgerline:<tag>:entries                hash: id/field → value
//	ledgerline:<tag>:parked                 hash: aggregate/id → JSON: the events that wait there, in order
//	ledgerline:<tag>:index                  sorted set, scores 0: id/s/field per sum, id/e/field per entry
//	ledgerline:<tag>:rank:<list>            sorted set: id by sum
//
// Sums are exact to 64 bits. A ranked list's scores are floating point: exact up to 2^53, the nearest
// such number beyond.
//
// Every write of a bucket is one script that compares checkpoints, and every read is one script that
// returns them. The package refuses clients that may read from replicas. It imports go-redis and is
// the only package that does.
package redisstore

import (
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

// DefaultPrefix begins every key unless Config says otherwise.
const DefaultPrefix = "ledgerline"

// Config is what a Store is made of.
type Config struct {
	// Client is connected to the master of Redis 6 or later, or to a cluster of masters. The store does
	// not close it. Deadlines of contexts are honoured if its ContextTimeoutEnabled is set, as in a
	// client of [NewClient]. Required.
	Client redis.UniversalClient
	// Prefix begins every key. It holds no brace. Defaults to DefaultPrefix.
	Prefix string
}

// Store is a [readstore.Store] in Redis. Its methods may be called from several goroutines.
type Store struct {
	client redis.UniversalClient
	prefix string
}

var _ readstore.Store = (*Store)(nil)

// New returns a store on a client. It does not use the network.
func New(config Config) (*Store, error) {
	if config.Client == nil {
		return nil, errors.New("creating a Redis store: Config.Client is nil")
	}
	switch client := config.Client.(type) {
	case *redis.ClusterClient:
		if client.Options().ReadOnly {
			return nil, errors.New("creating a Redis store: the cluster client may read from replicas: set ReadOnly, RouteByLatency and RouteRandomly to false")
		}
	case *redis.Ring:
		return nil, errors.New("creating a Redis store: a ring cannot keep a bucket on one node when a node fails: use a cluster client")
	}
	if config.Prefix == "" {
		config.Prefix = DefaultPrefix
	}
	if err := checkPrefix(config.Prefix); err != nil {
		return nil, err
	}
	return &Store{client: config.Client, prefix: config.Prefix}, nil
}
