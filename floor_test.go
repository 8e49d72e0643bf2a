package ledgerline_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
)

// floors are what `ingest floor` prints with these flags.
func floors(t *testing.T, conn ledgerline.Connection, args ...string) []kafka.Floor {
	t.Helper()
	p := run(t, ledgerline.RunIngest, conn, append([]string{"floor", "-o", "json"}, args...)...)
	var list []kafka.Floor
	if err := json.Unmarshal([]byte(p.stdout), &list); err != nil || p.code != ledgerline.ExitOK {
		t.Fatalf("floor %v: exit %d: %v, %s", args, p.code, err, p.stderr)
	}
	return list
}

func key(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// TestFloor raises the floor of command ids as a clock that is far ahead does, and resets it: what was decided
// is known again, nothing is decided twice.
func TestFloor(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	if p := run(t, ledgerline.RunIngest, conn, "floor"); p.code != ledgerline.ExitOK || !strings.Contains(p.stdout, "there is no floor") {
		t.Errorf("of a new cluster: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	post := func(c *api, order, id string) answer {
		return c.post("/v1/orders/"+order+"/place-order", placing("ada", 1), "Idempotency-Key", id)
	}
	refused := func(a answer) bool {
		return a.Status == http.StatusUnprocessableEntity && strings.Contains(string(a.Body), processing.CodeTooOld)
	}
	first, second := key(t), key(t)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	if a := post(newAPI(t, "http://"+ingest.http), "o-1", first); a.Status != http.StatusCreated {
		t.Fatalf("placing: %d %s", a.Status, a.Body)
	}
	far := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	raise := []string{"floor", "--raise-to", far.Format(time.RFC3339)}
	if list := floors(t, conn); len(list) != 1 || list[0].Topic != "order.commands" || time.Since(list[0].Floor).Round(time.Minute) != processing.KeepCommandIDs || list[0].Next != 1 || time.Since(list[0].LastDecision) > time.Minute {
		t.Errorf("floors %+v", list)
	}
	if p := run(t, ledgerline.RunIngest, conn, append(raise, "--yes")...); p.code != ledgerline.ExitMisuse || !strings.Contains(p.stderr, "stop every ingest") || len(lines(p.stderr)) != 1 {
		t.Errorf("beside an ingest: exit %d: %s", p.code, p.stderr)
	}
	ingest.stop()

	for _, args := range [][]string{raise, {"floor", "--reset"}} {
		if p := run(t, ledgerline.RunIngest, conn, args...); p.code != ledgerline.ExitMisuse || !strings.Contains(p.stderr, "nothing is changed") {
			t.Errorf("%v, not confirmed: exit %d: %s", args, p.code, p.stderr)
		}
	}
	if p := run(t, ledgerline.RunIngest, conn, append(raise, "--reset", "--yes")...); p.code != ledgerline.ExitMisuse || !strings.Contains(p.stderr, "exclude each other") {
		t.Errorf("both: exit %d: %s", p.code, p.stderr)
	}
	if list := floors(t, conn, append(raise[1:], "--yes")...); !list[0].Floor.Equal(far) {
		t.Errorf("raised: %+v", list)
	}
	if list := floors(t, conn, "--raise-to", "2026-01-01T00:00:00Z", "--yes"); !list[0].Floor.Equal(far) {
		t.Errorf("raised to a lower one: %+v", list)
	}
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	c := newAPI(t, "http://"+ingest.http)
	if a, b := post(c, "o-1", first), post(c, "o-2", second); !refused(a) || !refused(b) {
		t.Errorf("below the floor: %d %s; %d %s", a.Status, a.Body, b.Status, b.Body)
	}
	ingest.stop()

	if list := floors(t, conn, "--reset", "--yes"); time.Since(list[0].Floor).Round(time.Minute) != processing.KeepCommandIDs || list[0].Next < 3 {
		t.Errorf("reset: %+v", list)
	}
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	c = newAPI(t, "http://"+ingest.http)
	if a := post(c, "o-1", first); a.Status != http.StatusCreated || a.decided(t).Version != 1 {
		t.Errorf("decided before: %d %s", a.Status, a.Body)
	}
	if a := post(c, "o-2", second); a.Status != http.StatusCreated {
		t.Errorf("refused before: %d %s", a.Status, a.Body)
	}
	ingest.stop()
	if n := len(newPlain(t, conn).events()); n != 2 {
		t.Errorf("%d events, want one of each order", n)
	}
	if p := run(t, ledgerline.RunIngest, conn, "floor"); p.code != ledgerline.ExitOK || len(lines(p.stdout)) != 2 || !strings.HasPrefix(p.stdout, "TOPIC") {
		t.Errorf("as a table: %s%s", p.stdout, p.stderr)
	}
}
