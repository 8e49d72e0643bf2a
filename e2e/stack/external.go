package stack

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ControlVariable names the program that can do things to external services: it is called as
//
//	PROGRAM restart|kill|stop|continue broker-1|registry|redis
//
// and returns when that is done. Without one nothing can be done to them.
const ControlVariable = "LEDGERLINE_E2E_CONTROL"

// Program is a program that can do things to services, "" for none.
type Program string

// Do runs the program.
func (p Program) Do(ctx context.Context, a Action, s Service) error {
	if p == "" {
		return fmt.Errorf("no program is given to do it; set %s: %w", ControlVariable, errors.ErrUnsupported)
	}
	out, err := exec.CommandContext(ctx, string(p), string(a), string(s)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s %s: %w: %s", p, a, s, err, strings.TrimSpace(string(out)))
	}
	return nil
}

type externalControl struct {
	Program
	addresses Addresses
}

func startExternal(ctx context.Context, cfg Config) (*Stack, error) {
	a := cfg.Addresses
	if len(a.Brokers) == 0 || a.RegistryURL == "" || a.RedisURL == "" {
		return nil, errors.New("external services need addresses: set LEDGERLINE_E2E_BROKERS, LEDGERLINE_E2E_REGISTRY_URL and LEDGERLINE_E2E_REDIS_URL")
	}
	c := externalControl{Program(cfg.Control), a}
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	return New(ctx, External, a, c)
}

// await waits for all services. Nothing is made in a cluster or set in a registry that is somebody else's.
func (c externalControl) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := Await(ctx, "the brokers", nil, c.addresses.brokersAnswer); err != nil {
		return err
	}
	if err := Await(ctx, "the registry", nil, c.addresses.RegistryAnswers); err != nil {
		return err
	}
	return Await(ctx, "Redis", nil, c.addresses.RedisAnswers)
}

func (c externalControl) Do(ctx context.Context, a Action, s Service) error {
	if err := c.Program.Do(ctx, a, s); err != nil || a != Restart {
		return err
	}
	return c.await(ctx)
}

func (externalControl) Close() error { return nil }
