// Package stack runs the services that Ledgerline works on, for tests: Kafka, a schema registry and
// Redis, by one of four providers, so that one suite can be run on all of them. Embedded ones live in the
// test's process. Native ones are real services as processes of this machine. Those in containers are
// started by the module e2e/containers. External ones are somebody else's, and are only talked to.
// Native ones can be secure: TLS everywhere, SCRAM-SHA-512 and the authorizer in Kafka, Apicurio's own
// basic auth and roles, Redis' ACL. Their [Addresses] then hold what it takes to be let in.
//
// It owns the services' lives and knows when one answers. It checks them with clients of its own and
// imports nothing of the product but the embedded services, so that a mistake of the product cannot
// hide itself here. It refuses to touch a service or process that it did not start.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
)

// Provider is a way to run the services.
type Provider string

// The providers.
const (
	// Embedded runs one broker, registry and Redis inside the process. They can be restarted and no more.
	Embedded Provider = "embedded"
	// Native runs what e2e/native/install has installed, as processes.
	Native Provider = "native"
	// Containers runs images. Start refuses it: module e2e/containers has a Start of its own.
	Containers Provider = "containers"
	// External uses running services, whose addresses are in the environment: see [FromEnv].
	External Provider = "external"
)

// Service is one of the processes of a stack.
type Service string

// The services beside the brokers.
const (
	Registry Service = "registry"
	Redis    Service = "redis"
)

// Broker returns the n-th broker, from 1. It has the node id n.
func Broker(n int) Service { return Service("broker-" + strconv.Itoa(n)) }

// Config configures a [Stack].
type Config struct {
	// Provider runs the services. Defaults to Embedded.
	Provider Provider
	// Brokers is how many there are: 1, or 3 with three replicas of everything, of which two must be
	// written. Ignored by External, whose cluster is what it is. Defaults to 1.
	Brokers int
	// Secure has Native ask every client for TLS, a user and a password, with one broker. Defaults to false.
	Secure bool
	// RedisRules are what a secure Redis lets the user ledgerline do, as its ACL says it. Defaults to
	// any command on any key but those that are dangerous or for administrators, and a few of those that
	// tell about the server.
	RedisRules string
	// Dir is where native services keep data and logs: a folder of one stack, which stays. Defaults to
	// one below the system's folder for temporary files, which Close removes.
	Dir string
	// Log takes what happens to the services. Defaults to nothing.
	Log *slog.Logger
	// Addresses are those of External's services.
	Addresses Addresses
	// Control is the program that can do things to External's services: see [ControlVariable]. Defaults to
	// none.
	Control string
}

// Addresses say how services are reached, and what is known of them without asking.
type Addresses struct {
	// Brokers are Kafka's, as host:port.
	Brokers []string
	// RegistryURL is where the registry has its Confluent API, RedisURL is Redis's.
	RegistryURL, RedisURL string
	// Security is needed by whoever wants to be let in. It is nil where everybody is.
	Security *Security
	// Versions are those that the services themselves do not tell. Those left empty are asked for.
	Versions Versions
}

// Versions are those of the running services.
type Versions struct {
	// Kafka is the broker's version, or where it does not tell one, the newest that it speaks like.
	Kafka string `json:"kafka"`
	// Registry is the registry's product and version.
	Registry string `json:"registry"`
	// Redis is the server's version.
	Redis string `json:"redis"`
}

// Action is what can be done to a service.
type Action string

// The actions.
const (
	// Restart ends a service in good order, or starts one that was killed.
	Restart Action = "restart"
	// Kill ends a service at once, with SIGKILL.
	Kill Action = "kill"
	// Stop freezes a service, with SIGSTOP: its connections stay open and nobody answers.
	Stop Action = "stop"
	// Continue ends a Stop.
	Continue Action = "continue"
)

// Control is what a provider can do to its services.
type Control interface {
	// Do returns once the action is done; after a Restart the service answers again. It returns
	// errors.ErrUnsupported, wrapped, for what the provider cannot do.
	Do(ctx context.Context, a Action, s Service) error
	// Close ends all services, whatever state they are in, and waits for that.
	Close() error
}

// Stack is a set of services that answer. Their addresses do not change.
type Stack struct {
	Addresses
	// Provider is what runs them.
	Provider Provider

	control Control
}

// Start starts the services, or none, and returns once each answers: a record can be produced, the
// registry checks schemas (BACKWARD_TRANSITIVE, where it is ours to set) and Redis answers a PING.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Brokers == 0 {
		cfg.Brokers = 1
	}
	if cfg.Brokers != 1 && cfg.Brokers != 3 {
		return nil, fmt.Errorf("a stack has 1 or 3 brokers, not %d", cfg.Brokers)
	}
	if cfg.Secure && (cfg.Provider != Native || cfg.Brokers != 1) {
		return nil, fmt.Errorf("a secure stack is a native one with 1 broker, not %s with %d: %w", cfg.Provider, cfg.Brokers, errors.ErrUnsupported)
	}
	switch cfg.Provider {
	case Embedded, "":
		return startEmbedded(ctx, cfg)
	case Native:
		return startNative(ctx, cfg)
	case External:
		return startExternal(ctx, cfg)
	case Containers:
		return nil, fmt.Errorf("containers are started from module e2e/containers; run its tests: %w", errors.ErrUnsupported)
	default:
		return nil, fmt.Errorf("no provider %q; there are: %s, %s, %s, %s", cfg.Provider, Embedded, Native, Containers, External)
	}
}

// New makes a Stack of services that a provider has started, and asks for their versions. It owns the
// services from then on: if it fails, they are ended.
func New(ctx context.Context, p Provider, a Addresses, c Control) (*Stack, error) {
	if err := a.askVersions(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Stack{Addresses: a, Provider: p, control: c}, nil
}

// Restart ends a service in good order and starts it again, with its data: Redis keeps none. A native
// stack's only broker is killed instead: see docs/guides/hanging-transactions.md. It starts a
// service that was killed, too. It returns once the service answers; a broker has caught up by then with
// all partitions that it holds.
func (s *Stack) Restart(ctx context.Context, v Service) error { return s.do(ctx, Restart, v) }

// Kill ends a service with SIGKILL, and returns once it has ended. Restart brings it back.
func (s *Stack) Kill(ctx context.Context, v Service) error { return s.do(ctx, Kill, v) }

// Stop freezes a service with SIGSTOP.
func (s *Stack) Stop(ctx context.Context, v Service) error { return s.do(ctx, Stop, v) }

// Continue ends a Stop. It does not wait for the service to answer.
func (s *Stack) Continue(ctx context.Context, v Service) error { return s.do(ctx, Continue, v) }

func (s *Stack) do(ctx context.Context, a Action, v Service) error {
	if err := s.control.Do(ctx, a, v); err != nil {
		return fmt.Errorf("%s of %s (%s): %w", a, v, s.Provider, err)
	}
	return nil
}

// Close ends all services that the stack has started. A second call does nothing.
func (s *Stack) Close() error { return s.control.Close() }
