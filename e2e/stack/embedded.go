package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/ledgerline/ledgerline/processing/embedded"
)

type embeddedControl struct {
	services *embedded.Services
	dir      string
}

func startEmbedded(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Brokers != 1 {
		return nil, fmt.Errorf("there is one embedded broker, not %d: %w", cfg.Brokers, errors.ErrUnsupported)
	}
	dir, err := os.MkdirTemp("", "ledgerline-stack-")
	if err != nil {
		return nil, fmt.Errorf("making the folder of the stack: %w", err)
	}
	services, err := embedded.Start(embedded.Config{DataDir: dir})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return New(ctx, Embedded, Addresses{
		Brokers: services.Brokers, RegistryURL: services.RegistryURL, RedisURL: services.RedisURL,
		Versions: Versions{
			Kafka:    library("kfake", "github.com/twmb/franz-go/pkg/kfake"),
			Registry: library("srfake", "github.com/twmb/franz-go/pkg/sr"),
			Redis:    library("miniredis", "github.com/alicebob/miniredis/v2"),
		},
	}, embeddedControl{services, dir})
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

func (c embeddedControl) Do(_ context.Context, a Action, s Service) error {
	if a != Restart {
		return errors.ErrUnsupported
	}
	switch s {
	case Redis:
		return c.services.RestartRedis()
	case Registry:
		return c.services.RestartRegistry()
	case Broker(1):
		return c.services.RestartBroker()
	}
	return fmt.Errorf("there is no %s; there are: %s, %s, %s", s, Redis, Registry, Broker(1))
}

func (c embeddedControl) Close() error { return errors.Join(c.services.Close(), os.RemoveAll(c.dir)) }
