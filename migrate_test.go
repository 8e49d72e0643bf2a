package ledgerline_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

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
	ingest.stop()
	for i, value := range values {
		p.append(eventRecord("order.events", fmt.Sprintf("o-%d", i+1), "ledgerline.order.OrderPlaced", 1, value))
	}

	for _, args := range [][]string{{"--dry-run"}, {}} {
		var done copied
		told := migrate(t, conn, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(told.stdout), &done); err != nil || told.code != ledgerline.ExitOK || done.State != "new" || done.Refusal != "" {
			t.Fatalf("migrating %v: exit %d: %s%s", args, told.code, told.stdout, told.stderr)
		}
		before, events, rewritten := done.of("order.events")
		if _, outcomes, _ := done.of("order.outcomes"); before != 0 || events != 5 || rewritten != 2 || outcomes != 3 || len(done.Topics) != 6 {
			t.Errorf("migrating %v: %+v", args, done)
		}
		if n := int64(len(p.read("new.order.events"))); len(args) > 0 && n > 0 || len(args) == 0 && n != events {
			t.Errorf("after %v there are %d events", args, n)
		}
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
