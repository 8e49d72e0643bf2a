package stack_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// kafkaAs returns a client that gives up after some seconds.
func kafkaAs(t *testing.T, a stack.Addresses, user string) *kgo.Client {
	t.Helper()
	options, err := a.KafkaOptions(user)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(options, kgo.MetadataMinAge(20*time.Millisecond), kgo.RetryTimeout(3*time.Second), kgo.RecordDeliveryTimeout(3*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// write produces a record to the stack's own topic.
func write(ctx context.Context, t *testing.T, a stack.Addresses, user string) error {
	t.Helper()
	return kafkaAs(t, a, user).ProduceSync(ctx, &kgo.Record{Topic: "stack-probe", Value: []byte("test")}).FirstErr()
}

func redisAs(t *testing.T, a stack.Addresses, user string) *redis.Client {
	t.Helper()
	options, err := a.RedisOptions(user)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// registryStatus makes a request as a user and returns the HTTP status.
func registryStatus(ctx context.Context, t *testing.T, a stack.Addresses, user, method, path, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, a.RegistryURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client, err := a.RegistryClient(user)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

// mistaken has another user's password for every Admin.
func mistaken(a stack.Addresses) stack.Addresses {
	a.Security = &stack.Security{
		CAFile:        a.Security.CAFile,
		KafkaUsers:    map[string]string{stack.Admin: a.Security.KafkaUsers["ingest"]},
		RegistryUsers: map[string]string{stack.Admin: a.Security.RegistryUsers["ledgerline"]},
		RedisUsers:    map[string]string{stack.Admin: a.Security.RedisUsers["ledgerline"]},
	}
	return a
}

// plain knows nothing of the secrets.
func plain(a stack.Addresses) stack.Addresses {
	a.Security = nil
	a.RegistryURL = strings.Replace(a.RegistryURL, "https:", "http:", 1)
	a.RedisURL = strings.Replace(a.RedisURL, "rediss:", "redis:", 1)
	return a
}

func wantErr(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err != nil && strings.Contains(err.Error(), part) {
			return
		}
	}
	t.Errorf("%s: got %v, want one of %q", what, err, parts)
}

func TestNativeSecure(t *testing.T) {
	s := start(t, stack.Config{Provider: stack.Native, Secure: true, Dir: t.TempDir()})
	ctx := bounded(t, 4*time.Minute)
	t.Run("kafka", func(t *testing.T) { secureKafka(ctx, t, s) })
	t.Run("registry", func(t *testing.T) { secureRegistry(ctx, t, s) })
	t.Run("redis", func(t *testing.T) { secureRedis(ctx, t, s) })
	t.Run("external", func(t *testing.T) { secureExternal(t, s) })
}

func secureKafka(ctx context.Context, t *testing.T, s *stack.Stack) {
	wantErr(t, "without TLS", plain(s.Addresses).BrokersWork(ctx), "plaintext connection")
	_, err := kadm.NewClient(kafkaAs(t, s.Addresses, "")).BrokerMetadata(ctx)
	wantErr(t, "as nobody", err, "SASL")
	wantErr(t, "wrong password", mistaken(s.Addresses).BrokersWork(ctx), "SASL_AUTHENTICATION_FAILED")
	for user := range s.Security.KafkaUsers {
		_, err := kadm.NewClient(kafkaAs(t, s.Addresses, user)).ApiVersions(ctx)
		if err != nil {
			t.Errorf("%s is not let in: %v", user, err)
		}
	}
	if err := write(ctx, t, s.Addresses, "ingest"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("ingest without ACLs: %v", err)
	}
	if err := s.BrokersWork(ctx); err != nil {
		t.Errorf("admin: %v", err)
	}
	rights := kadm.NewACLs().Topics("stack-probe").ResourcePatternType(kadm.ACLPatternLiteral).
		Operations(kadm.OpWrite).Allow("User:ingest").AllowHosts()
	if _, err := kadm.NewClient(kafkaAs(t, s.Addresses, stack.Admin)).CreateACLs(ctx, rights); err != nil {
		t.Fatal(err)
	}
	// A broker answers CreateACLs before it has heard of the rights itself.
	err = stack.Await(ctx, "ingest with a right", nil, func(ctx context.Context) error { return write(ctx, t, s.Addresses, "ingest") })
	if err != nil {
		t.Error(err)
	}
	if err := s.Restart(ctx, stack.Broker(1)); err != nil {
		t.Fatal(err)
	}
	if err := write(ctx, t, s.Addresses, "ingest"); err != nil {
		t.Errorf("ingest after a restart: %v", err)
	}
	if err := write(ctx, t, s.Addresses, "rebuild"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("rebuild without ACLs, after a restart: %v", err)
	}
}

func secureRegistry(ctx context.Context, t *testing.T, s *stack.Stack) {
	wantErr(t, "without TLS", plain(s.Addresses).RegistryAnswers(ctx), "EOF", "reset", "refused", "400")
	wantErr(t, "wrong password", mistaken(s.Addresses).RegistryAnswers(ctx), "401")
	for range 2 {
		for _, row := range []struct {
			user, method, path, body string
			want                     int
		}{
			{"", http.MethodGet, "/config", "", http.StatusUnauthorized},
			{"", http.MethodGet, "/schemas/ids/1", "", http.StatusUnauthorized},
			{stack.Admin, http.MethodPost, "/subjects/a/versions", `{"schema":"\"string\""}`, http.StatusOK},
			{"ledgerline", http.MethodGet, "/config", "", http.StatusOK},
			{"ledgerline", http.MethodGet, "/schemas/ids/1", "", http.StatusOK},
			{"ledgerline", http.MethodPost, "/subjects/a", `{"schema":"\"string\""}`, http.StatusOK},
			{"ledgerline", http.MethodPost, "/subjects/b/versions", `{"schema":"\"string\""}`, http.StatusForbidden},
			{"ledgerline", http.MethodPut, "/config", `{"compatibility":"NONE"}`, http.StatusForbidden},
		} {
			if got := registryStatus(ctx, t, s.Addresses, row.user, row.method, row.path, row.body); got != row.want {
				t.Errorf("%q: %s %s: got %d, want %d", row.user, row.method, row.path, got, row.want)
			}
		}
		if err := errors.Join(s.Kill(ctx, stack.Registry), s.Restart(ctx, stack.Registry)); err != nil {
			t.Fatal(err)
		}
	}
}

func secureRedis(ctx context.Context, t *testing.T, s *stack.Stack) {
	for range 2 {
		wantErr(t, "without TLS", plain(s.Addresses).RedisAnswers(ctx), "EOF", "reset")
		wantErr(t, "wrong password", mistaken(s.Addresses).RedisAnswers(ctx), "WRONGPASS")
		wantErr(t, "as nobody", redisAs(t, s.Addresses, "").Get(ctx, "a").Err(), "NOAUTH")
		ledgerline := redisAs(t, s.Addresses, "ledgerline")
		if err := errors.Join(ledgerline.Set(ctx, "a", "1", 0).Err(), ledgerline.ConfigGet(ctx, "maxmemory*").Err()); err != nil {
			t.Errorf("ledgerline: %v", err)
		}
		wantErr(t, "ledgerline wipes all", ledgerline.FlushAll(ctx).Err(), "NOPERM")
		wantErr(t, "ledgerline changes settings", ledgerline.ConfigSet(ctx, "maxmemory", "1gb").Err(), "NOPERM")
		if err := redisAs(t, s.Addresses, stack.Admin).FlushAll(ctx).Err(); err != nil {
			t.Errorf("admin: %v", err)
		}
		if err := s.Restart(ctx, stack.Redis); err != nil {
			t.Fatal(err)
		}
	}
}

// secureExternal talks to the stack as to somebody else's.
func secureExternal(t *testing.T, s *stack.Stack) {
	t.Setenv("LEDGERLINE_E2E_STACK", "external")
	t.Setenv("LEDGERLINE_E2E_BROKERS", strings.Join(s.Brokers, ","))
	t.Setenv("LEDGERLINE_E2E_REGISTRY_URL", s.RegistryURL)
	t.Setenv("LEDGERLINE_E2E_REDIS_URL", s.RedisURL)
	t.Setenv("LEDGERLINE_E2E_SECURITY", strings.TrimSuffix(s.Security.CAFile, "ca.pem"))
	cfg, err := stack.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, cfg)
	if got := other.Versions.Registry; got != s.Versions.Registry {
		t.Errorf("the registry is %s, want %s", got, s.Versions.Registry)
	}
}
