package containers_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/containers"
	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/e2e/suite"
)

// requireEngine skips unless the environment asks for containers: they need a Docker engine and minutes.
func requireEngine(t *testing.T) {
	t.Helper()
	cfg, err := stack.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Provider != stack.Containers {
		t.Skip("runs containers; type: LEDGERLINE_E2E_STACK=containers go test .")
	}
}

func start(t *testing.T, brokers int) *stack.Stack {
	t.Helper()
	requireEngine(t)
	s, err := containers.Start(t.Context(), stack.Config{
		Brokers: brokers, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	})
	return s
}

func TestOneBroker(t *testing.T) {
	s := start(t, 1)
	t.Logf("%+v", s.Versions)
	if s.Provider != stack.Containers || !strings.HasPrefix(s.Versions.Kafka, "4.") || !strings.HasPrefix(s.Versions.Registry, "apicurio 3.") {
		t.Errorf("got %+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, one := range []stack.Service{stack.Redis, stack.Registry, stack.Broker(1)} {
		t.Run(string(one), func(t *testing.T) {
			answers := map[stack.Service]func(context.Context) error{
				stack.Redis:     s.RedisAnswers,
				stack.Registry:  s.RegistryAnswers,
				stack.Broker(1): s.BrokersWork,
			}[one]
			if err := s.Stop(ctx, one); err != nil {
				t.Fatal(err)
			}
			soon, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if answers(soon) == nil {
				t.Error("it answers though it is stopped")
			}
			if err := s.Continue(ctx, one); err != nil {
				t.Fatal(err)
			}
			if err := stack.Await(ctx, string(one), nil, answers); err != nil {
				t.Errorf("continued: %v", err)
			}
			if err := s.Kill(ctx, one); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(ctx, one); err != nil {
				t.Fatal(err)
			}
			if err := answers(ctx); err != nil {
				t.Errorf("restarted: %v", err)
			}
		})
	}
	if err := s.Kill(ctx, "broker-9"); err == nil || !strings.Contains(err.Error(), "broker-1") {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestThreeBrokers(t *testing.T) {
	s := start(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(s.Kill(ctx, stack.Broker(2)), s.Restart(ctx, stack.Broker(2)), s.BrokersWork(ctx)); err != nil {
		t.Error(err)
	}
}

// TestSuite runs the end-to-end suite, with as many brokers as the environment asks for.
func TestSuite(t *testing.T) {
	cfg, err := stack.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	suite.Run(t, start(t, cfg.Brokers))
}
