//go:build unix

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/ledgerline/ledgerline/e2e/native"
)

// securityDir is the folder of a secure stack's secrets, below its own.
const securityDir = "security"

// processes are the native services of one stack.
type processes struct {
	cfg       Config
	installed native.Installation
	addresses Addresses
	services  map[Service]*process
	// order is the one to start them in.
	order []Service
	// release gives the ports back.
	release func()

	closing sync.Once
	closed  error
	ownDir  bool
}

func startNative(ctx context.Context, cfg Config) (*Stack, error) {
	n := &processes{cfg: cfg, services: map[Service]*process{}}
	var err error
	if n.installed, err = native.Find(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		n.ownDir = true
		n.cfg.Dir, err = os.MkdirTemp("", "ledgerline-stack-")
	} else if n.cfg.Dir, err = filepath.Abs(cfg.Dir); err == nil {
		err = os.MkdirAll(n.cfg.Dir, 0o750)
	}
	if err != nil {
		return nil, fmt.Errorf("making the folder of the stack: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return New(ctx, Native, n.addresses, n)
}

func (n *processes) start(ctx context.Context) error {
	ports, release, err := ReservePorts(2*n.cfg.Brokers + 3)
	if err != nil {
		return err
	}
	n.release = release
	if n.cfg.Secure {
		if n.addresses.Security, err = makeSecurity(filepath.Join(n.cfg.Dir, securityDir)); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := n.addRedis(ports[0]); err != nil {
		return err
	}
	if err := n.addRegistry(ports[1], ports[2]); err != nil {
		return err
	}
	if err := n.addBrokers(ctx, ports[3:]); err != nil {
		return err
	}
	for _, s := range n.order {
		if err := n.await(ctx, s, true); err != nil {
			return err
		}
		n.cfg.Log.InfoContext(ctx, "service answers", "service", s, "took", time.Since(began).Round(time.Millisecond))
	}
	// A broker serves before it logs its version: up to 0.3 s before on a busy machine.
	return Await(ctx, "the broker's log", n.services[Broker(1)].ended(), func(context.Context) error {
		var err error
		n.addresses.Versions.Kafka, err = kafkaVersionFromLog(n.services[Broker(1)].output)
		return err
	})
}

// await waits until a service answers: for the first time, or after a restart.
func (n *processes) await(ctx context.Context, s Service, first bool) error {
	p := n.services[s]
	err := Await(ctx, string(s), p.ended(), func(ctx context.Context) error {
		switch {
		case s == Redis:
			return n.addresses.RedisAnswers(ctx)
		case s == Registry:
			return n.addresses.RegistryChecks(ctx)
		case first:
			return n.addresses.BrokersWork(ctx)
		default:
			return n.addresses.BrokerInSync(ctx, n.nodeID(s))
		}
	})
	if err != nil {
		return fmt.Errorf("%w; %s ends with:\n%s", err, p.output, p.tail())
	}
	return nil
}

func (n *processes) nodeID(s Service) int32 {
	for i := range n.cfg.Brokers {
		if Broker(i+1) == s {
			return int32(i + 1)
		}
	}
	return 0
}

// Do does something to a service.
func (n *processes) Do(ctx context.Context, a Action, s Service) error {
	p := n.services[s]
	if p == nil {
		return fmt.Errorf("there is no such service; there are: %v", n.order)
	}
	switch a {
	case Kill:
		return p.kill()
	case Stop:
		return p.signal(syscall.SIGSTOP)
	case Continue:
		return p.signal(syscall.SIGCONT)
	case Restart:
		end := p.end
		if s == Broker(1) && n.cfg.Brokers == 1 {
			// One that ends in good order, with nobody to lead its partitions, leaves transactions without
			// their end: docs/guides/hanging-transactions.md.
			end = func(context.Context) error { return p.kill() }
		}
		if err := end(ctx); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		return n.await(ctx, s, false)
	default:
		return errors.ErrUnsupported
	}
}

// Close kills all services, since nothing of theirs is needed any more.
func (n *processes) Close() error {
	n.closing.Do(func() {
		for _, s := range n.order {
			n.closed = errors.Join(n.closed, n.services[s].kill())
		}
		if n.release != nil {
			n.release()
		}
		if n.ownDir {
			n.closed = errors.Join(n.closed, os.RemoveAll(n.cfg.Dir))
		}
	})
	return n.closed
}

var loggedVersion = regexp.MustCompile(`Kafka version: (\S+)`)

// kafkaVersionFromLog returns the version that a broker tells nobody but its log.
func kafkaVersionFromLog(output string) (string, error) {
	text, err := os.ReadFile(output)
	if err != nil {
		return "", fmt.Errorf("looking for Kafka's version: %w", err)
	}
	found := loggedVersion.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("looking for Kafka's version: %s does not tell it", output)
	}
	return string(found[1]), nil
}
