package ledgerline_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
)

// TestSnapshotsInRebuild restarts an ingest that keeps snapshots, and has rebuild list, build, verify and
// delete them.
func TestSnapshotsInRebuild(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 2)
	start := func() (*served, *api) {
		s := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one", "--snapshot-interval", "1ms")
		return s, newAPI(t, "http://"+s.http)
	}
	ingest, c := start()
	const orders = 6
	for i := range orders {
		if a := c.post("/v1/orders/o-"+itoa(i)+"/place-order", placing("ada", 10)); a.Status != http.StatusCreated {
			t.Fatalf("placing: %d %s", a.Status, a.Body)
		}
	}
	await(t, "all states are in snapshots", func() error {
		if held := ingest.scrape().series("ledgerline_state_memory_bytes")["kind=changed"]; held > 0 {
			return errors.New("some are not")
		}
		return nil
	})
	ingest.stop()

	rebuild := func(want int, args ...string) ended {
		t.Helper()
		e := run(t, ledgerline.RunRebuild, conn, args...)
		if e.code != want {
			t.Fatalf("rebuild %v: exit %d: %s%s", args, e.code, e.stdout, e.stderr)
		}
		return e
	}
	type generation struct {
		ID     string `json:"id"`
		Model  string `json:"model"`
		Active bool   `json:"active"`
	}
	status := func(args ...string) (found []generation) {
		t.Helper()
		e := rebuild(ledgerline.ExitOK, append([]string{"status", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(e.stdout), &found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if e := rebuild(ledgerline.ExitOK, "verify", "order-snapshots"); !strings.Contains(e.stdout, "6 events folded, 6 keys compared, 0 differences") {
		t.Errorf("verify: %s", e.stdout)
	}
	first := status("order-snapshots")
	if len(first) != 1 || !first[0].Active {
		t.Fatalf("status: %+v", first)
	}
	rebuild(ledgerline.ExitOK, "run", "order-snapshots")
	both := status()
	var built string
	for _, g := range both {
		if g.Model == "order-snapshots" && g.ID != first[0].ID && g.Active {
			built = g.ID
		}
	}
	if built == "" {
		t.Fatalf("status: %+v", both)
	}
	rebuild(ledgerline.ExitOK, "verify", "order-snapshots")
	for _, refused := range [][]string{{"promote", "order-snapshots", built}, {"rollback", "order-snapshots"}} {
		if e := rebuild(ledgerline.ExitFailed, refused...); !strings.Contains(e.stderr, "is not promoted") {
			t.Errorf("%v: %s", refused, e.stderr)
		}
	}
	rebuild(ledgerline.ExitMisuse, "run", "order-snapshots", "--promote")
	rebuild(ledgerline.ExitOK, "prune", "order-snapshots", "--grace", "1ms", "--yes")
	if left := status("order-snapshots"); len(left) != 1 || left[0].ID != built {
		t.Errorf("left: %+v, want %s", left, built)
	}

	ingest, c = start()
	for i := range orders {
		if a := c.post("/v1/orders/o-"+itoa(i)+"/receive-payment", paying(10)); a.Status != http.StatusCreated || a.decided(t).Version != 2 {
			t.Errorf("paying: %d %s", a.Status, a.Body)
		}
	}
	m := ingest.scrape()
	if n := m.series("ledgerline_recovered_events_total")[""]; n != 0 {
		t.Errorf("%v events were read back", n)
	}
	if n := m.series("ledgerline_states_loaded_total")["result=found"]; n != orders {
		t.Errorf("%v states were loaded, want %d", n, orders)
	}
}
