package stack

import (
	"context"
	"errors"
)

type externalControl struct{}

func startExternal(ctx context.Context, cfg Config) (*Stack, error) {
	a := cfg.Addresses
	if len(a.Brokers) == 0 || a.RegistryURL == "" || a.RedisURL == "" {
		return nil, errors.New("external services need addresses: set LEDGERLINE_E2E_BROKERS, LEDGERLINE_E2E_REGISTRY_URL and LEDGERLINE_E2E_REDIS_URL")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Nothing is made in a cluster or set in a registry that is somebody else's.
	if err := Await(ctx, "the brokers", nil, a.brokersAnswer); err != nil {
		return nil, err
	}
	if err := Await(ctx, "the registry", nil, a.RegistryAnswers); err != nil {
		return nil, err
	}
	if err := Await(ctx, "Redis", nil, a.RedisAnswers); err != nil {
		return nil, err
	}
	return New(ctx, External, a, externalControl{})
}

func (externalControl) Do(context.Context, Action, Service) error { return errors.ErrUnsupported }

func (externalControl) Close() error { return nil }
