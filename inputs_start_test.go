package ledgerline_test

import (
	"net/http"
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
