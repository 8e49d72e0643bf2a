package ledgerline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
)

// migrate runs rebuild migrate to the prefix "new.".
func migrate(t *testing.T, conn ledgerline.Connection, args ...string) ended {
	t.Helper()
	return run(t, ledgerline.RunRebuild, conn, append([]string{"migrate", "--to-prefix", "new."}, args...)...)
}

// copied is what migrate prints as JSON.
type copied struct {
	State   string
	Refusal string
	Topics  []struct {
		From, To                   string
		Copied, Records, Rewritten int64
	}
}

func (c copied) of(topic string) (copied, records, rewritten int64) {
	for _, one := range c.Topics {
		if one.From == topic {
			return one.Copied, one.Records, one.Rewritten
		}
	}
	return -1, -1, -1
}

// half migrates so many records, and is killed.
func half(t *testing.T, conn ledgerline.Connection, records int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m, err := ledgerline.NewMigrate(ctx, testApp, ledgerline.MigrateConfig{
		Connection: conn, ToPrefix: "new.", MaxBatch: records, Progress: func(int64, int64) { cancel() },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
}

// TestMigrate goes over to topics of another prefix, as docs/guides/migrate.md says: from orders whose OrderPlaced
// is of each version that there ever was. Whoever works on the new topics finds what there was on the old ones.
func TestMigrate(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	p := newPlain(t, conn)
	values := olderOrders(t, p, conn)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	c := newAPI(t, "http://"+ingest.http)
	first, refusedID, timeless := key(t), key(t), "shop-77"
	for _, send := range []struct {
		order, id string
		status    int
	}{{"o-0", first, http.StatusCreated}, {"o-0", refusedID, http.StatusConflict}, {"o-9", timeless, http.StatusCreated}} {
		if a := c.post("/v1/orders/"+send.order+"/place-order", placing("ada", 1), "Idempotency-Key", send.id); a.Status != send.status {
			t.Fatalf("placing %s: %d %s", send.order, a.Status, a.Body)
		}
	}
	if told := run(t, ledgerline.RunProvision, conn, "apply", "--partitions", "1", "--prefix", "new."); told.code != ledgerline.ExitOK {
		t.Fatalf("provisioning: %s%s", told.stdout, told.stderr)
	}
	if told := migrate(t, conn); told.code != ledgerline.ExitMisuse || !strings.Contains(told.stderr, "stop every ingest") || len(lines(told.stderr)) != 1 {
		t.Errorf("beside an ingest: exit %d: %s%s", told.code, told.stdout, told.stderr)
	}
	if told := migrate(t, conn, "--dry-run"); told.code != ledgerline.ExitFailed || !strings.Contains(told.stdout, "would be refused: group ledgerline.ingest") {
		t.Errorf("its plan beside an ingest: exit %d: %s%s", told.code, told.stdout, told.stderr)
	}
	if told := migrate(t, conn, "--dry-run", "--verify"); told.code != ledgerline.ExitMisuse || !strings.Contains(told.stderr, "exclude each other") {
		t.Errorf("both: exit %d: %s", told.code, told.stderr)
	}
	if told := run(t, ledgerline.RunRebuild, conn, "migrate", "--to-prefix", ""); told.code != ledgerline.ExitMisuse || !strings.Contains(told.stderr, "choose another") {
		t.Errorf("to the same prefix: exit %d: %s", told.code, told.stderr)
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	if told := runWith(interrupted, ledgerline.RunRebuild, nil, append([]string{"migrate", "--to-prefix", "new."}, connectArgs(conn)...)...); told.code != ledgerline.ExitFailed || !strings.Contains(told.stderr, "run it again") {
		t.Errorf("interrupted: exit %d: %s", told.code, told.stderr)
	}
	ingest.stop()
	for i, value := range values {
		r := eventRecord("order.events", fmt.Sprintf("o-%d", i+1), "ledgerline.order.OrderPlaced", 1, value)
		r.Timestamp = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
		p.append(r)
	}

	migrated := func(args ...string) (done copied) {
		t.Helper()
		told := migrate(t, conn, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(told.stdout), &done); err != nil || told.code != ledgerline.ExitOK || done.Refusal != "" || len(done.Topics) != 6 {
			t.Fatalf("migrating %v: exit %d: %s%s", args, told.code, told.stdout, told.stderr)
		}
		return done
	}
	plan := migrated("--dry-run")
	if before, events, rewritten := plan.of("order.events"); plan.State != "new" || before != 0 || events != 5 || rewritten != 2 {
		t.Errorf("its plan: %+v", plan)
	}
	if before, outcomes, _ := plan.of("order.outcomes"); before != 0 || outcomes != 3 || len(p.read("new.order.events"))+len(p.read("new.order.outcomes")) != 0 {
		t.Errorf("its plan: %+v", plan)
	}
	half(t, conn, 3)
	started := run(t, ledgerline.RunIngest, conn, "serve", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--prefix", "new.")
	if started.code != ledgerline.ExitMisuse || !strings.Contains(started.stderr, `run: rebuild migrate --prefix "" --to-prefix "new."`) || len(lines(started.stderr)) != 1 {
		t.Errorf("an ingest of the new prefix: exit %d: %s", started.code, started.stderr)
	}
	if told := migrate(t, conn, "--verify"); told.code != ledgerline.ExitFailed || !strings.Contains(told.stdout, "the migration is not finished") {
		t.Errorf("verifying half of it: exit %d: %s%s", told.code, told.stdout, told.stderr)
	}
	done := migrated()
	eventsBefore, events, _ := done.of("order.events")
	outcomesBefore, outcomes, _ := done.of("order.outcomes")
	if done.State != "begun" || eventsBefore+events != 5 || outcomesBefore+outcomes != 3 || eventsBefore+outcomesBefore != 3 {
		t.Errorf("migrating: %+v", done)
	}
	if told := migrate(t, conn, "--verify"); told.code != ledgerline.ExitOK || !strings.HasSuffix(told.stdout, "0 differences\n") {
		t.Errorf("verifying: exit %d: %s%s", told.code, told.stdout, told.stderr)
	}
	if told := migrate(t, conn); told.code != ledgerline.ExitOK || !strings.Contains(told.stdout, "was finished before") {
		t.Errorf("once more: exit %d: %s%s", told.code, told.stdout, told.stderr)
	}
	for _, r := range p.read("new.order.events") {
		if len(p.decode(r.Value)) != len(p.decode(values[2])) || headerOf(r, "ce_commandoffset") != "-1" || !strings.HasPrefix(headerOf(r, "ledgerline-migrated-from"), "order.events/0@") {
			t.Errorf("a copy: %v with %v", p.decode(r.Value), r.Headers)
		}
	}

	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one", "--prefix", "new.")
	processor := serve(t, "processor", ledgerline.RunProcessor, conn, "--prefix", "new.")
	c, queries := newAPI(t, "http://"+ingest.http), newAPI(t, "http://"+processor.http)
	for id, want := range map[string]string{
		"o-0": `{"amount":{"minor_units":1,"currency":"GBP"},"version":1}`,
		"o-1": `{"amount":{"minor_units":100,"currency":"GBP"},"placed_at":"2026-01-02T03:04:05Z","version":1}`,
		"o-2": `{"amount":{"minor_units":20,"currency":"GBP"},"discount":{"minor_units":5,"currency":"GBP"},"placed_at":"2026-01-02T03:04:05Z","version":1}`,
		"o-3": `{"amount":{"minor_units":3,"currency":"GBP"},"placed_at":"2010-01-01T00:00:00Z","version":1}`,
	} {
		await(t, id+" on the new topics", func() error { return shows(queries, "/v1/orders/"+id, want, nil) })
	}
	if a := c.get("/v1/orders/o-0/commands/" + first); a.Status != http.StatusOK || a.decided(t).Version != 1 {
		t.Errorf("what became of a command: %d %s", a.Status, a.Body)
	}
	repeat := func(order, id string, status int) {
		t.Helper()
		a := c.post("/v1/orders/"+order+"/place-order", placing("ada", 1), "Idempotency-Key", id)
		if a.Status != status || a.position() != "" || status == http.StatusCreated && a.decided(t).Version != 1 {
			t.Errorf("repeating %s on %s: %d %s, position %q", id, order, a.Status, a.Body, a.position())
		}
	}
	repeat("o-0", first, http.StatusCreated)
	repeat("o-0", refusedID, http.StatusConflict)
	repeat("o-9", timeless, http.StatusCreated)
	for id, pence := range map[string]int64{"o-0": 1, "o-1": 100, "o-2": 20, "o-3": 3} {
		a := c.post("/v1/orders/"+id+"/receive-payment", paying(pence), "If-Match", `"1"`)
		if a.Status != http.StatusCreated || a.decided(t).Version != 2 || a.position() == "" {
			t.Fatalf("paying %s: %d %s", id, a.Status, a.Body)
		}
		if err := shows(queries, "/v1/orders/"+id, `{"status":"paid","version":2}`, []string{"Ledgerline-Position", a.position()}); err != nil {
			t.Error(err)
		}
	}
	if n := len(p.read("new.order.events")); n != 9 {
		t.Errorf("%d events, want 5 copies and 4 payments", n)
	}
	if told := run(t, ledgerline.RunRebuild, conn, "verify", "customer-orders", "--prefix", "new."); told.code != ledgerline.ExitOK {
		t.Errorf("verifying a read model: %s%s", told.stdout, told.stderr)
	}
}
