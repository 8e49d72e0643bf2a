package stack

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/ledgerline/ledgerline/processing/embedded"
)

type embeddedControl struct{ services *embedded.Services }

func startEmbedded(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Brokers != 1 {
		return nil, fmt.Errorf("there is one embedded broker, not %d: %w", cfg.Brokers, errors.ErrUnsupported)
	}
	services, err := embedded.Start(embedded.Config{})
	if err != nil {
		return nil, err
	}
	return New(ctx, Embedded, Addresses{
		Brokers: services.Brokers, RegistryURL: services.RegistryURL, RedisURL: services.RedisURL,
		Versions: Versions{
			Kafka:    library("kfake", "github.com/twmb/franz-go/pkg/kfake"),
			Registry: library("srfake", "github.com/twmb/franz-go/pkg/sr"),
			Redis:    library("miniredis", "github.com/alicebob/miniredis/v2"),
		},
	}, embeddedControl{services})
}

// library names what stands in for a service, with its version if the build tells it.
func library(name, module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return name
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return name + " " + m.Version
		}
	}
	return name
}

func (embeddedControl) Do(context.Context, Action, Service) error { return errors.ErrUnsupported }

func (c embeddedControl) Close() error { return c.services.Close() }
