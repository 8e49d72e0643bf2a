package stack_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		orphan()
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, cfg stack.Config) *stack.Stack {
	t.Helper()
	if cfg.Provider == stack.Native {
		requireNative(t)
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := stack.Start(t.Context(), cfg)
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

// requireNative skips unless the environment asks for native services: they take minutes.
func requireNative(t *testing.T) {
	t.Helper()
	cfg, err := stack.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Provider != stack.Native {
		t.Skip("runs real services; type: e2e/native/install && LEDGERLINE_E2E_STACK=native go test ./e2e/stack")
	}
}

// produce writes a record that all replicas in sync must have.
func produce(ctx context.Context, s *stack.Stack) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "stack-probe", Value: []byte("test")}).FirstErr()
}

func redisClient(t *testing.T, s *stack.Stack) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func bounded(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestEmbedded(t *testing.T) {
	s := start(t, stack.Config{})
	if s.Provider != stack.Embedded || !strings.HasPrefix(s.Versions.Kafka, "kfake") || !strings.HasPrefix(s.Versions.Redis, "miniredis") {
		t.Errorf("got %+v", s)
	}
	if err := errors.Join(s.BrokersWork(bounded(t, time.Minute)), s.RegistryAnswers(t.Context()), s.RedisAnswers(t.Context())); err != nil {
		t.Error(err)
	}
	for _, one := range []stack.Service{stack.Redis, stack.Registry, stack.Broker(1)} {
		if err := s.Restart(t.Context(), one); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(s.BrokersWork(bounded(t, time.Minute)), s.RegistryAnswers(t.Context()), s.RedisAnswers(t.Context())); err != nil {
		t.Errorf("restarted: %v", err)
	}
	if err := s.Restart(t.Context(), stack.Broker(2)); err == nil || !strings.Contains(err.Error(), "broker-1") {
		t.Errorf("a service that is not there: %v", err)
	}
	for name, do := range map[string]func(context.Context, stack.Service) error{"kill": s.Kill, "stop": s.Stop, "continue": s.Continue} {
		if err := do(t.Context(), stack.Redis); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		cfg  stack.Config
		want string
	}{
		"two brokers":            {stack.Config{Provider: stack.Native, Brokers: 2}, "1 or 3 brokers"},
		"three embedded brokers": {stack.Config{Brokers: 3}, "one embedded broker"},
		"unknown provider":       {stack.Config{Provider: "cloud"}, "there are: embedded, native"},
		"secure and embedded":    {stack.Config{Provider: stack.Embedded, Secure: true}, "a native one with 1 broker"},
		"secure and three":       {stack.Config{Provider: stack.Native, Brokers: 3, Secure: true}, "a native one with 1 broker"},
		"containers":             {stack.Config{Provider: stack.Containers}, "e2e/containers"},
		"no addresses":           {stack.Config{Provider: stack.External, Addresses: stack.Addresses{Brokers: []string{"127.0.0.1:1"}}}, "LEDGERLINE_E2E_REGISTRY_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := stack.Start(t.Context(), row.cfg)
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv("LEDGERLINE_E2E_BROKERS", "a:1, b:2")
	t.Setenv("LEDGERLINE_E2E_REGISTRY_URL", "http://c:3")
	t.Setenv("LEDGERLINE_E2E_REDIS_URL", "redis://d:4")
	for value, want := range map[string]string{
		"": "embedded 1 [] false", "native": "native 1 [] false", "native:3": "native 3 [] false", "native:secure": "native 1 [] true",
		"containers:3": "containers 3 []", "containers:secure": "1 or 3 brokers", "external": "external 1 [a:1 b:2]", "native:2": "1 or 3 brokers", "native:": "1 or 3 brokers", "cloud": "no such provider",
	} {
		t.Setenv("LEDGERLINE_E2E_STACK", value)
		cfg, err := stack.FromEnv()
		got := fmt.Sprint(cfg.Provider, " ", cfg.Brokers, " ", cfg.Addresses.Brokers, " ", cfg.Secure)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
	t.Setenv("LEDGERLINE_E2E_STACK", "external")
	t.Setenv("LEDGERLINE_E2E_SECURITY", t.TempDir())
	_, err := stack.FromEnv()
	for _, want := range []string{"LEDGERLINE_E2E_SECURITY", "ca.pem", "kafka", "registry", "redis"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an empty folder of secrets: got %v, want %s", err, want)
		}
	}
}

// TestExternal talks to services that another stack has started.
func TestExternal(t *testing.T) {
	other := start(t, stack.Config{})
	a := other.Addresses
	a.Versions.Registry, a.Versions.Redis = "srfake", "miniredis" // which tell none
	a.Versions.Kafka = ""
	s := start(t, stack.Config{Provider: stack.External, Addresses: a})
	if !slices.Equal(s.Brokers, other.Brokers) || !strings.HasPrefix(s.Versions.Kafka, "speaks ") {
		t.Errorf("got %+v", s)
	}
	if err := s.Kill(t.Context(), stack.Redis); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("killing somebody else's Redis: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := other.RedisAnswers(t.Context()); err != nil {
		t.Errorf("after closing a stack of external services: %v", err)
	}
}

func TestNative(t *testing.T) {
	dir := t.TempDir()
	s := start(t, stack.Config{Provider: stack.Native, Dir: dir})
	t.Logf("%+v", s.Versions)
	if s.Versions.Kafka[0] != '4' || !strings.Contains(s.Versions.Registry, "3.") || s.Versions.Redis == "" {
		t.Errorf("versions: %+v", s.Versions)
	}
	ctx := bounded(t, 4*time.Minute)
	if err := s.Restart(ctx, "broker-9"); err == nil || !strings.Contains(err.Error(), "broker-1") {
		t.Errorf("a service that is not there: %v", err)
	}

	t.Run("redis forgets", func(t *testing.T) {
		client := redisClient(t, s)
		if err := client.Set(ctx, "a", "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(ctx, stack.Redis); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Exists(ctx, "a").Result(); n != 0 || err != nil {
			t.Errorf("after a restart: %d, %v", n, err)
		}
		policy, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
		if err != nil || policy["maxmemory-policy"] != "noeviction" {
			t.Errorf("policy: %v, %v", policy, err)
		}
	})
	t.Run("redis stops and goes on", func(t *testing.T) {
		if err := s.Stop(ctx, stack.Redis); err != nil {
			t.Fatal(err)
		}
		if err := s.RedisAnswers(bounded(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) && !os.IsTimeout(err) {
			t.Errorf("stopped: %v", err)
		}
		if err := s.Continue(ctx, stack.Redis); err != nil {
			t.Fatal(err)
		}
		if err := s.RedisAnswers(ctx); err != nil {
			t.Errorf("continued: %v", err)
		}
	})
	t.Run("broker remembers", func(t *testing.T) {
		if err := s.Kill(ctx, stack.Broker(1)); err != nil {
			t.Fatal(err)
		}
		if err := produce(bounded(t, 500*time.Millisecond), s); err == nil {
			t.Error("a killed broker took a record")
		}
		if err := s.Stop(ctx, stack.Broker(1)); err == nil {
			t.Error("a killed broker could be stopped")
		}
		if err := s.Restart(ctx, stack.Broker(1)); err != nil {
			t.Fatal(err)
		}
		if n := endOffset(ctx, t, s); n < 1 {
			t.Errorf("the topic ends at %d after the restart", n)
		}
	})
	t.Run("registry remembers", func(t *testing.T) {
		id := register(ctx, t, s.RegistryURL, `{"type":"record","name":"A","fields":[]}`)
		if err := s.Restart(ctx, stack.Registry); err != nil {
			t.Fatal(err)
		}
		if again := register(ctx, t, s.RegistryURL, `{"type":"record","name":"A","fields":[]}`); again != id {
			t.Errorf("the schema has id %d after the restart, had %d", again, id)
		}
		if other := register(ctx, t, s.RegistryURL, `{"type":"record","name":"A","fields":[{"name":"b","type":"int"}]}`); other != -409 {
			t.Errorf("a schema that cannot read what was written: %d", other)
		}
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, address := range append([]string{strings.TrimPrefix(s.RedisURL, "redis://")}, s.Brokers...) {
		if listening(address) {
			t.Errorf("somebody listens on %s after Close", address)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*", "output.log"))
	if err != nil || len(logs) != 3 {
		t.Errorf("there are logs %v, %v", logs, err)
	}
}

func TestNativeThreeBrokers(t *testing.T) {
	if cfg, err := stack.FromEnv(); err != nil || cfg.Provider != stack.Native || cfg.Brokers != 3 {
		t.Skip("it takes one to two minutes; set LEDGERLINE_E2E_STACK=native:3")
	}
	s := start(t, stack.Config{Provider: stack.Native, Brokers: 3})
	ctx := bounded(t, 4*time.Minute)
	for n := range 3 {
		began := time.Now()
		if err := s.Kill(ctx, stack.Broker(n+1)); err != nil {
			t.Fatal(err)
		}
		if err := produce(ctx, s); err != nil {
			t.Fatalf("without broker %d: %v", n+1, err)
		}
		t.Logf("without broker %d a record took %s", n+1, time.Since(began).Round(time.Millisecond))
		if err := s.Restart(ctx, stack.Broker(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	// The cluster does not notice at once that a broker is gone; Restart must wait for it all the same.
	if err := errors.Join(s.Kill(ctx, stack.Broker(1)), s.Restart(ctx, stack.Broker(1))); err != nil {
		t.Fatal(err)
	}
	if !listening(s.Brokers[0]) {
		t.Error("Restart returned before the broker answers")
	}
}
