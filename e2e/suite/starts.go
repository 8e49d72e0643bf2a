package suite

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// startsAreRefused starts binaries against what they cannot work with: each ends with exit code 2 and one
// line that says what to type. What can go wrong depends on the stack: rights need users, for one.
func startsAreRefused(t *testing.T, u *suite) {
	refused := func(what, want, binary string, flags ...string) {
		t.Helper()
		// An address of its own, in case that it does start.
		e := u.end(t, nil, binary, append([]string{"serve", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-level", "error"}, flags...)...)
		if line := strings.TrimSpace(e.Stderr); e.Code != 2 || strings.Contains(line, "\n") || !strings.Contains(line, want) {
			t.Errorf("%s: exit %d, want 2 and one line with %s: %s", what, e.Code, want, line)
		} else {
			t.Logf("%s: %s", what, line)
		}
	}
	for _, binary := range []string{Ingest, Processor} {
		refused("no topics", "provision apply", binary, "--prefix", u.id("nobody")+".")
	}
	u.withoutRule(t, func() { refused("a registry that enforces nothing", "provision apply", Ingest) })
	u.withEvictingRedis(t, func() { refused("a Redis that evicts", "noeviction", Processor) })
	if u.stack.Security == nil {
		return
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, binary := range []string{Ingest, Processor} {
		refused("a wrong password for Kafka", "--kafka-password-file", binary, "--kafka-password-file", wrong)
		refused("a wrong password for the registry", "--registry-password-file", binary, "--registry-password-file", wrong)
		refused("TLS where there is none", "--kafka-tls", binary, "--kafka-tls=false")
	}
	refused("a wrong password for Redis", "--redis-password-file", Processor, "--redis-password-file", wrong)
	refused("missing rights", "--ingest-user", Ingest, "--kafka-user", Processor, "--kafka-password-file", u.stack.Security.KafkaUsers[Processor])
}

// withoutRule calls do while a subject takes any schema.
func (u *suite) withoutRule(t *testing.T, do func()) {
	t.Helper()
	set := func(level string) {
		t.Helper()
		path := "/config/" + u.topic("order.events-ledgerline.order.OrderPlaced")
		if err := u.stack.AskRegistry(t.Context(), http.MethodPut, path, `{"compatibility":"`+level+`"}`, nil); err != nil {
			t.Fatal(err)
		}
	}
	set("NONE")
	defer set("BACKWARD_TRANSITIVE")
	do()
}

// withEvictingRedis calls do while Redis may forget keys. An embedded one knows no such setting.
func (u *suite) withEvictingRedis(t *testing.T, do func()) {
	t.Helper()
	if u.stack.Provider == stack.Embedded {
		return
	}
	client, err := u.stack.Redis()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	set := func(limit, policy string) {
		t.Helper()
		for name, value := range map[string]string{"maxmemory": limit, "maxmemory-policy": policy} {
			if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("4gb", "allkeys-lru")
	defer set("0", "noeviction")
	do()
}
