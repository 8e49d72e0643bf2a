package ledgerline_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing"
)

// used is what the binaries have worked on and left: one order is placed and shown.
func used(t *testing.T) (ledgerline.Connection, *plain) {
	t.Helper()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	a := newAPI(t, "http://"+ingest.http).post("/v1/orders/o-1/place-order", placing("ada", 1), "Idempotency-Key", "first")
	if got := newAPI(t, "http://"+processor.http).get("/v1/orders/o-1", "Ledgerline-Position", a.position()); got.Status != http.StatusOK {
		t.Fatalf("the order: %d %s", got.Status, got.Body)
	}
	ingest.stop()
	processor.stop()
	return conn, newPlain(t, conn)
}

// recreate deletes a topic and makes it anew.
func recreate(t *testing.T, p *plain, topic string) {
	t.Helper()
	adm := kadm.NewClient(p.kgo)
	if _, err := adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	provision(t, p.conn, 1)
}

// TestLogThatIsAnother starts the binaries on a log that is not the one that they have worked on.
func TestLogThatIsAnother(t *testing.T) {
	t.Parallel()
	const group = "ledgerline.ingest"
	reset := func(t *testing.T, p *plain, at int64, metadata string) {
		t.Helper()
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: "order.commands", At: at, LeaderEpoch: -1, Metadata: metadata})
		committed, err := kadm.NewClient(p.kgo).CommitOffsets(t.Context(), group, offsets)
		if err == nil {
			err = committed.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name   string
		change func(*testing.T, *plain)
		// What ingest says at /readyz, none if it goes on; what the processor says at its end.
		ingest, processor []string
	}{
		{"events recreated", func(t *testing.T, p *plain) { recreate(t, p, "order.events") },
			[]string{"order.events is not whole", "set --prefix"}, []string{"order.events", "recreated", "set --redis-url or --prefix, or delete the keys"}},
		{"commands recreated", func(t *testing.T, p *plain) { recreate(t, p, "order.commands") }, []string{"order.commands/0", "recreated", "set --prefix"}, nil},
		{"an operator's reset", func(t *testing.T, p *plain) { reset(t, p, 0, "") }, []string{"order.commands/0", "reset", "--delete-offsets"}, nil},
		{"an offset beyond the end", func(t *testing.T, p *plain) { reset(t, p, 99, processing.Metadata{}.String()) }, []string{"order.commands/0", "99", "set --prefix"}, nil},
		{"offsets that have expired", func(t *testing.T, p *plain) {
			if _, err := kadm.NewClient(p.kgo).DeleteGroup(t.Context(), group); err != nil {
				t.Fatal(err)
			}
		}, nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			conn, p := used(t)
			row.change(t, p)
			if row.ingest != nil {
				unready(t, "ingest", ledgerline.RunIngest, conn, row.ingest, "--instance", "one")
			} else {
				ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
				c := newAPI(t, "http://"+ingest.http)
				// The same command again is a repeat, and the order goes on from where it was.
				if a := c.post("/v1/orders/o-1/place-order", placing("ada", 1), "Idempotency-Key", "first"); a.Status != http.StatusCreated || a.decided(t).Version != 1 {
					t.Errorf("the same again: %d %s", a.Status, a.Body)
				}
				if a := c.post("/v1/orders/o-1/receive-payment", paying(1)); a.Status != http.StatusCreated || a.decided(t).Version != 2 {
					t.Errorf("going on: %d %s", a.Status, a.Body)
				}
			}
			for name, main := range map[string]program{"processor serve": ledgerline.RunProcessor, "rebuild status": ledgerline.RunRebuild} {
				if row.processor == nil {
					continue
				}
				told := run(t, main, conn, strings.Fields(name)[1])
				for _, word := range row.processor {
					if told.code != ledgerline.ExitMisuse || len(lines(told.stderr)) != 1 || !strings.Contains(told.stderr, word) {
						t.Errorf("%s: exit %d: %s", name, told.code, told.stderr)
					}
				}
			}
		})
	}
}

// TestTopicsThatDoNotFit has the binaries meet topics and a Redis that are not as they must be: what
// TestStartRefuses has no row for.
func TestTopicsThatDoNotFit(t *testing.T) {
	t.Parallel()
	conn, p := used(t)
	starts := map[string]program{"ingest serve": ledgerline.RunIngest, "processor serve": ledgerline.RunProcessor, "rebuild status": ledgerline.RunRebuild}
	refuses := func(what, name string, conn ledgerline.Connection, words ...string) {
		t.Helper()
		told := run(t, starts[name], conn, strings.Fields(name)[1], "--log-level", "error")
		for _, word := range words {
			if told.code != ledgerline.ExitMisuse || len(lines(told.stderr)) != 1 || told.stdout != "" || !strings.Contains(told.stderr, word) {
				t.Errorf("%s: %s: exit %d: %s, want %q", what, name, told.code, told.stderr, words)
			}
		}
	}
	_, other := startEmbedded(t, "")
	provision(t, other, 1)
	other.RedisURL = conn.RedisURL
	for _, name := range []string{"processor serve", "rebuild status"} {
		refuses("the Redis of another log", name, other, "another topic", "set --redis-url or --prefix, or delete the keys")
	}

	if _, err := kadm.NewClient(p.kgo).CreatePartitions(t.Context(), 2, "order.events"); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"check", "apply"} {
		if told := run(t, ledgerline.RunProvision, conn, verb); told.code != ledgerline.ExitFailed || !strings.Contains(told.stdout+told.stderr, "number of partitions is 3, want 1") {
			t.Errorf("provision %s: exit %d: %s%s", verb, told.code, told.stdout, told.stderr)
		}
	}
	for name := range starts {
		told := run(t, starts[name], conn, strings.Fields(name)[1], "--prefix", "none.", "--log-level", "error")
		if told.code != ledgerline.ExitMisuse || len(lines(told.stderr)) != 1 || !strings.Contains(told.stderr, "topic none.account.commands: missing") || !strings.Contains(told.stderr, "run: provision apply") {
			t.Errorf("nothing provisioned: %s: exit %d: %s", name, told.code, told.stderr)
		}
	}
}

// TestMisuse gives each binary what it cannot work with: one line that names the flag, and exit 2.
func TestMisuse(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	nobody, taken := freeAddr(t), strings.TrimPrefix(l.URL, "http://")
	ingest, processor, rebuild, provision := ledgerline.RunIngest, ledgerline.RunProcessor, ledgerline.RunRebuild, ledgerline.RunProvision
	serving := []string{"serve", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}
	with := func(args []string, more ...string) []string { return append(args[:len(args):len(args)], more...) }
	for _, row := range []struct {
		name string
		main program
		args []string
		says string
	}{
		{"ingest", ingest, nil, "see ingest --help"},
		{"ingest", ingest, []string{"eat"}, "see ingest --help"},
		{"ingest", ingest, with(serving, "--colour"), "--colour"},
		{"ingest", ingest, with(serving, "--workers", "many"), "--workers"},
		{"ingest", ingest, with(serving, "--log-level", "loud"), "--log-level"},
		{"ingest", ingest, with(serving, "--log-format", "xml"), "--log-format"},
		{"ingest", ingest, with(serving, "--brokers", ""), "--brokers"},
		{"ingest", ingest, with(serving, "--brokers", "localhost:kafka"), "--brokers"},
		{"ingest", ingest, with(serving, "--brokers", nobody), "--brokers"},
		{"ingest", ingest, with(serving, "--registry-url", "localhost:8081"), "--registry-url"},
		{"ingest", ingest, with(serving, "--registry-url", "http://"+nobody), "--registry-url"},
		{"ingest", ingest, []string{"serve", "--http-addr", taken, "--admin-addr", "127.0.0.1:0", "--instance", "two"}, "--http-addr"},
		{"ingest", ingest, []string{"serve", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:http!", "--instance", "three"}, "--admin-addr"},
		{"ingest", ingest, []string{"send"}, "<file>"},
		{"ingest", ingest, []string{"send", "there-is-no-such-file"}, "there-is-no-such-file"},
		{"ingest", ingest, []string{"send", "-"}, "--name"},
		{"ingest", ingest, []string{"send", "-", "--name", "x", "-o", "yaml"}, "--output"},
		{"processor", processor, with(serving, "--brokers", nobody), "--brokers"},
		{"processor", processor, with(serving, "--redis-url", "localhost:6379"), "redis://"},
		{"processor", processor, with(serving, "--redis-url", "redis://"+nobody), "--redis-url"},
		{"processor", processor, with(serving, "--workers", "2"), "--workers"},
		{"processor", processor, []string{"key", "order-status"}, "<id>"},
		{"processor", processor, []string{"key", "orders", "o-1"}, "there are: account-balance"},
		{"rebuild", rebuild, []string{"run"}, "<model>"},
		{"rebuild", rebuild, []string{"run", "orders"}, "there are: account-balance"},
		{"rebuild", rebuild, []string{"promote", "order-status"}, "<generation>"},
		{"rebuild", rebuild, []string{"prune", "order-status", "--grace", "soon"}, "--grace"},
		{"rebuild", rebuild, []string{"events", "cake", "o-1"}, "cake"},
		{"rebuild", rebuild, []string{"status", "--redis-url", "redis://" + nobody}, "--redis-url"},
		{"provision", provision, []string{"apply", "--partitions", "few"}, "--partitions"},
		{"provision", provision, []string{"apply", "--partitions", "-3"}, "--partitions"},
		{"provision", provision, []string{"check", "--brokers", nobody}, "--brokers"},
		{"provision", provision, []string{"check", "--registry-url", "ftp://" + nobody}, "--registry-url"},
		{"provision", provision, []string{"check", "--registry-url", "http://" + nobody}, "--registry-url"},
		{"ingest", ingest, []string{"healthcheck", "--admin-addr", "127.0.0.1:http!"}, "127.0.0.1:http!"},
	} {
		t.Run(row.name+" "+strings.Join(row.args, " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			args := row.args
			if len(args) > 1 && args[0] != "healthcheck" {
				args = append(args[:len(args):len(args)], missing(l.Connection, args)...)
			}
			p := runWith(ctx, row.main, nil, args...)
			if p.code != ledgerline.ExitMisuse || len(lines(p.stderr)) != 1 || p.stdout != "" || !strings.Contains(p.stderr, row.says) || !strings.HasPrefix(p.stderr, row.name+": ") {
				t.Errorf("exit %d, want 2 with %q\nstdout: %s\nstderr: %s", p.code, row.says, p.stdout, p.stderr)
			}
		})
	}
}

// missing returns the flags that reach c and are not given.
func missing(c ledgerline.Connection, given []string) []string {
	args := []string{"--log-level", "error"}
	if slices.Contains(given, "--log-level") {
		args = nil
	}
	all := connectArgs(c)
	for i := 0; i < len(all); i += 2 {
		if !slices.Contains(given, all[i]) {
			args = append(args, all[i], all[i+1])
		}
	}
	return args
}
