package ledgerline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline"
)

// TestRebuildBesideReadersAndWriters rebuilds and promotes again and again while commands are decided
// and readers read: nobody meets an error or a gap.
func TestRebuildBesideReadersAndWriters(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c := newAPI(t, l.URL)
	const orders, resting, rounds = 1500, 60, 3
	load(t, l, orders, resting)
	const loaded = orders*100 + orders*(orders-1)/2

	until, stop := context.WithCancel(t.Context())
	defer stop()
	group, ctx := errgroup.WithContext(until)
	var writes, passes, looks atomic.Int64
	for n := range 2 {
		// The only writer of its customer knows what its queries must show.
		group.Go(func() error {
			who, spent := fmt.Sprintf("writer-%d", n), int64(0)
			for i := int64(1); ctx.Err() == nil; i++ {
				a, err := c.try(http.MethodPost, fmt.Sprintf("/v1/orders/w-%d-%d/place-order", n, i), placing(who, i))
				if err != nil || a.Status != http.StatusCreated {
					return fmt.Errorf("writing: %d %s, %w", a.Status, a.Body, err)
				}
				spent += i
				if err := sees(c, who, a.position(), spent); err != nil {
					return err
				}
				writes.Add(1)
			}
			return nil
		})
	}
	// Customers that nobody writes to stay as they are in every list and on their own, though others
	// come into the list between two pages.
	group.Go(func() error {
		for ctx.Err() == nil {
			list, err := pages[customer](c, "/v1/customers", ranking("7"), func() {})
			if err != nil {
				return err
			}
			seen, total := map[string]bool{}, int64(0)
			for _, one := range list {
				if seen[one.CustomerID] {
					return fmt.Errorf("%s is twice in one list", one.CustomerID)
				}
				seen[one.CustomerID] = true
				if strings.HasPrefix(one.CustomerID, "c-") {
					total += one.spent()
				}
			}
			if total != loaded {
				return fmt.Errorf("the list's %d customers spent %d, want %d", len(list), total, loaded)
			}
			passes.Add(1)
		}
		return nil
	})
	group.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			a, err := c.try(http.MethodGet, "/v1/customers/c-"+itoa(i%resting), "")
			if err != nil || a.Status != http.StatusOK {
				return fmt.Errorf("customer c-%d: %d %s, %w", i%resting, a.Status, a.Body, err)
			}
			var one customer
			if err := json.Unmarshal(a.Body, &one); err != nil {
				return err
			}
			if one.Statuses.Placed != orders/resting {
				return fmt.Errorf("customer c-%d: %s", i%resting, a.Body)
			}
			looks.Add(1)
		}
		return nil
	})

	active := map[string]bool{}
	for round := range rounds {
		before := []int64{writes.Load(), passes.Load(), looks.Load()}
		p := run(t, ledgerline.RunRebuild, l.Connection, "run", "customer-orders", "--promote")
		if p.code != ledgerline.ExitOK {
			t.Fatalf("round %d: exit %d: %s%s", round, p.code, p.stdout, p.stderr)
		}
		out := lines(p.stdout)
		last := out[len(out)-1]
		if !strings.HasSuffix(last, " of customer-orders is verified and active") || !strings.Contains(p.stdout, " 0 differences") {
			t.Errorf("round %d said %s", round, p.stdout)
		}
		if !strings.Contains(p.stderr, "building ") || !strings.Contains(p.stderr, "verifying ") {
			t.Errorf("round %d told of no progress: %s", round, p.stderr)
		}
		id := strings.Fields(last)[1]
		if active[id] {
			t.Errorf("generation %s was promoted before", id)
		}
		active[id] = true
		status := statusOf(t, l.Connection, "customer-orders")
		if !status[id].Active || status[id].VerifiedAt.IsZero() || len(status) != round+2 {
			t.Errorf("round %d: status is %+v", round, status)
		}
		// Everyone has read from the new generation before the next round.
		await(t, "a look of everyone", func() error {
			if ctx.Err() != nil {
				t.Fatalf("beside the rebuild: %v", group.Wait())
			}
			if writes.Load() <= before[0]+2 || passes.Load() <= before[1]+2 || looks.Load() <= before[2]+2 {
				return fmt.Errorf("%d writes, %d lists, %d looks", writes.Load()-before[0], passes.Load()-before[1], looks.Load()-before[2])
			}
			return nil
		})
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Errorf("beside the rebuild: %v", err)
	}
	t.Logf("%d writes, %d lists, %d looks beside %d rebuilds", writes.Load(), passes.Load(), looks.Load(), rounds)
	if p := run(t, ledgerline.RunRebuild, l.Connection, "verify", "customer-orders"); p.code != ledgerline.ExitOK {
		t.Errorf("verifying at the end: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
}

// generation is a line of `rebuild status -o json`.
type generation struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	Active     bool      `json:"active"`
	Standby    bool      `json:"standby"`
	Model      string    `json:"model"`
	Behind     int64     `json:"behind"`
	VerifiedAt time.Time `json:"verified_at"`
}

func statusOf(t *testing.T, conn ledgerline.Connection, models ...string) map[string]generation {
	t.Helper()
	p := run(t, ledgerline.RunRebuild, conn, append([]string{"status", "-o", "json"}, models...)...)
	var list []generation
	if err := json.Unmarshal([]byte(p.stdout), &list); err != nil || p.code != ledgerline.ExitOK {
		t.Fatalf("status: exit %d, %v: %s%s", p.code, err, p.stdout, p.stderr)
	}
	byID := map[string]generation{}
	for _, g := range list {
		byID[g.ID] = g
	}
	return byID
}

// TestRebuildTells holds what `rebuild` prints, and the exit codes, to what scripts rely on.
func TestRebuildTells(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, ctx := newAPI(t, l.URL), t.Context()
	load(t, l, 40, 4)
	a := c.post("/v1/orders/o-last/place-order", placing("c-0", 1))
	for _, path := range []string{"/v1/orders/o-last", "/v1/customers/c-0"} {
		if got := c.get(path, "Ledgerline-Position", a.position()); got.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, got.Status, got.Body)
		}
	}

	for _, row := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"help", []string{"--help"}, 0, "Usage: rebuild", ""},
		{"help of a verb", []string{"run", "--help"}, 0, "--promote", ""},
		{"version", []string{"run", "--version"}, 0, "", ""},
		{"no verb", nil, 2, "", "see rebuild --help"},
		{"unknown verb", []string{"erase"}, 2, "", "see rebuild --help"},
		{"unknown flag", []string{"status", "--color"}, 2, "", "see rebuild --help"},
		{"no broker's address", []string{"status", "--brokers", ""}, 2, "", "--brokers"},
		{"unknown model", []string{"run", "customers"}, 2, "", "there are: account-balance, order-status, customer-orders"},
		{"unknown model in status", []string{"status", "customers"}, 2, "", "there are: account-balance, order-status, customer-orders"},
		{"unknown generation", []string{"verify", "order-status", "g-1"}, 1, "", "g-1"},
		{"promoting what is not there", []string{"promote", "order-status", "g-1"}, 1, "", "g-1"},
		{"registry's URL", []string{"status", "--registry-url", "localhost:8081"}, 2, "", "--registry-url"},
		{"Redis' URL", []string{"status", "--redis-url", "localhost"}, 2, "", "redis://"},
		{"another prefix", []string{"status", "--prefix", "other."}, 2, "", "provision apply"},
		{"status as a table", []string{"status"}, 0, "READ MODEL", ""},
		{"sound", []string{"verify", "customer-orders"}, 0, " 0 differences", "verifying "},
	} {
		args := row.args
		if len(args) > 1 || slices.Contains(args, "status") {
			args = append(args[:1:1], connectArgs(l.Connection, args[1:]...)...)
		}
		p := runWith(ctx, ledgerline.RunRebuild, nil, args...)
		if p.code != row.code || !strings.Contains(p.stdout, row.stdout) || !strings.Contains(p.stderr, row.stderr) {
			t.Errorf("%s: exit %d\nstdout: %s\nstderr: %s", row.name, p.code, p.stdout, p.stderr)
		}
		if row.code != 0 && (len(lines(p.stderr)) != 1 || p.stdout != "") {
			t.Errorf("%s: want one line and nothing on stdout, got %q and %q", row.name, p.stderr, p.stdout)
		}
	}

	// What someone changes in Redis by hand, verify finds and names.
	redis := redisClient(t, l.Connection.RedisURL)
	tamper := func(part, field, value string) {
		t.Helper()
		keys, err := redis.Keys(ctx, "ledgerline:{*}:"+part).Result()
		if err != nil {
			t.Fatal(err)
		}
		struck := 0
		for _, key := range keys {
			if had, err := redis.HExists(ctx, key, field).Result(); err != nil || !had {
				continue
			}
			struck++
			if err := redis.HSet(ctx, key, field, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if struck != 1 {
			t.Fatalf("%d keys have a field %s, want one", struck, field)
		}
	}
	tamper("docs", "o-7", `{"order_id":"o-7","status":"shipped"}`)
	tamper("sums", "c-1/GBP/total_spent", "1")
	for model, key := range map[string]string{"order-status": "o-7", "customer-orders": "c-1/GBP/total_spent"} {
		p := run(t, ledgerline.RunRebuild, l.Connection, "verify", model)
		if p.code != ledgerline.ExitFailed || !strings.Contains(p.stdout, " "+key+" in bucket") {
			t.Errorf("verify %s: exit %d: %s%s", model, p.code, p.stdout, p.stderr)
		}
		var found struct {
			Differences []struct{ Key string }
			Count       int
		}
		p = run(t, ledgerline.RunRebuild, l.Connection, "verify", model, "-o", "json")
		if err := json.Unmarshal([]byte(p.stdout), &found); err != nil || p.code != ledgerline.ExitFailed || found.Count < 1 || found.Differences[0].Key != key {
			t.Errorf("verify %s as JSON: exit %d, %v: %s", model, p.code, err, p.stdout)
		}
		if p := run(t, ledgerline.RunRebuild, l.Connection, "run", model, "--promote"); p.code != ledgerline.ExitOK {
			t.Errorf("rebuilding %s: exit %d: %s%s", model, p.code, p.stdout, p.stderr)
		}
		if p := run(t, ledgerline.RunRebuild, l.Connection, "verify", model); p.code != ledgerline.ExitOK {
			t.Errorf("verify %s after its rebuild: exit %d: %s%s", model, p.code, p.stdout, p.stderr)
		}
	}
}

// TestProcessorKeyFindsDocuments runs what `processor key` prints.
func TestProcessorKeyFindsDocuments(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, redis := newAPI(t, l.URL), redisClient(t, l.Connection.RedisURL)
	a := c.post("/v1/orders/o-1/place-order", placing("ada", 1250))
	for _, path := range []string{"/v1/orders/o-1", "/v1/customers/ada"} {
		c.get(path, "Ledgerline-Position", a.position())
	}
	// redis-cli -u URL COMMAND 'key' …
	ask := func(model, id string) string {
		t.Helper()
		p := run(t, ledgerline.RunProcessor, l.Connection, "key", model, id)
		if p.code != ledgerline.ExitOK || !strings.HasPrefix(p.stdout, "redis-cli -u "+l.Connection.RedisURL+" ") {
			t.Fatalf("key %s %s: exit %d: %s%s", model, id, p.code, p.stdout, p.stderr)
		}
		var words []any
		for _, word := range strings.Fields(strings.TrimSpace(p.stdout))[3:] {
			words = append(words, strings.Trim(word, "'"))
		}
		value, err := redis.Do(t.Context(), words...).Result()
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return fmt.Sprint(value)
	}
	if got := ask("order-status", "o-1"); !strings.Contains(got, `"customer_id":"ada"`) {
		t.Errorf("order: %s", got)
	}
	if got := ask("customer-orders", "ada"); !strings.Contains(got, "ada/GBP/total_spent 1250") {
		t.Errorf("customer: %s", got)
	}
}
