package redisstore

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// failoverWait is how long a cluster is given to replace a master that does not answer.
const failoverWait = 15 * time.Second

// Check asks every master whether read models are safe there. It refuses a replica, and a server that
// evicts keys when its memory is full; what a server does not let it ask, it takes as well. It waits 15 s
// for a cluster in which a master does not answer, until a replica has taken its place.
func (s *Store) Check(ctx context.Context) error {
	_, isCluster := s.client.(*redis.ClusterClient)
	for began := time.Now(); ; {
		err := s.check(ctx)
		if !isCluster || !IsAway(err) || time.Since(began) > failoverWait {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *Store) check(ctx context.Context) error {
	return s.eachMaster(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		if err := client.Ping(ctx).Err(); err != nil {
			if said := greeting(ctx, client); said != nil {
				err = said
			}
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

// IsAway reports that an error is of a Redis that does not answer, or not yet, rather than of one that
// must not be used.
func IsAway(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) || redis.HasErrorPrefix(err, "LOADING")
}

// eachMaster runs visit on the server or, in parallel, on every master of the cluster.
func (s *Store) eachMaster(ctx context.Context, visit func(ctx context.Context, client redis.UniversalClient) error) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error { return visit(ctx, client) })
	}
	return visit(ctx, s.client)
}

// greetingTimeout is how long a server may take to turn a connection away.
const greetingTimeout = 500 * time.Millisecond

// greeting returns what a server says to whoever connects, before it hangs up: that it is in protected
// mode, or full. A client that writes meanwhile sees no more than a broken connection. It returns nil
// if the server says nothing.
func greeting(ctx context.Context, client redis.UniversalClient) error {
	single, ok := client.(*redis.Client)
	if !ok || single.Options().TLSConfig != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, single.Options().Network, single.Options().Addr)
	if err != nil {
		return nil // it is told already
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetReadDeadline(deadline) // without it, the server's hanging up ends the reading
	}
	line, _ := bufio.NewReader(io.LimitReader(conn, 1000)).ReadString('\n') // what there is of it
	text, isError := strings.CutPrefix(strings.TrimSpace(line), "-")
	if !isError {
		return nil
	}
	text, _, _ = strings.Cut(text, ". ") // advice follows, a page of it
	return errors.New(text)
}

// Hint says what to type about an error that Redis, reached with cfg, gave at a start, "" if it is none of the connection's.
func Hint(cfg ClientConfig, err error) string {
	says := func(prefix string) bool { return err != nil && strings.Contains(err.Error(), prefix) }
	var network net.Error
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	switch {
	case says("DENIED"):
		return "Redis is in protected mode, which turns away other hosts: give it users with passwords (see Security in README.md), then set --redis-user and --redis-password-file"
	case says("NOPERM"):
		return "allow the Redis user what README.md lists under Security"
	case says("WRONGPASS"), says("NOAUTH"), says("invalid password"), says("invalid username-password"), says("AUTH <password> called without"):
		return "the user or the password is wrong: set --redis-user and --redis-password-file"
	case errors.As(err, &record):
		return "it speaks no TLS: set --redis-url to redis://"
	case errors.As(err, &certificate):
		return "set --ca-file to the authority of its certificate, and --redis-url to a name that stands in it"
	case strings.HasPrefix(cfg.URL, "rediss:") && (errors.Is(err, io.EOF) || says("connection reset")):
		return "does it speak TLS? If not, set --redis-url to redis://"
	case errors.Is(err, io.EOF), says("connection reset"), says("can't parse"):
		return "does it speak TLS? Then set --redis-url to rediss://"
	case strings.HasPrefix(cfg.URL, "rediss:") && says("deadline exceeded"): // as a Redis without TLS waits
		return "set --redis-url (redis:// where it speaks no TLS)"
	case errors.As(err, &network), says("deadline exceeded"):
		return "set --redis-url"
	}
	return ""
}
