package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// generation is a line of `rebuild status -o json`.
type generation struct {
	ID      string `json:"id"`
	Active  bool   `json:"active"`
	Standby bool   `json:"standby"`
	Buckets int    `json:"buckets"`
}

// active returns the active generation of a read model.
func (u *suite) active(t *testing.T, model string) generation {
	t.Helper()
	var all []generation
	out := u.must(t, "rebuild", "status", model, "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	i := slices.IndexFunc(all, func(g generation) bool { return g.Active })
	if i < 0 {
		t.Fatalf("%s has no active generation: %s", model, out)
	}
	return all[i]
}

// rebuildAndPromote builds, verifies, promotes and rolls back a read model while a reader looks all the time
// at customers that nobody writes to, and a writer writes: it sees no gap and no mix.
func rebuildAndPromote(t *testing.T, u *suite) {
	w := u.traffic(t, "beside-rebuild")
	until, stop := context.WithCancel(t.Context())
	defer stop()
	const orders = sent / sentCustomers
	var looks atomic.Int64
	var readers errgroup.Group
	readers.Go(func() error {
		for i := 0; until.Err() == nil; i++ {
			who, want := i%sentCustomers, int64(0)
			for k := who; k < sent; k += sentCustomers {
				want += int64(100 + k)
			}
			a, err := try(t.Context(), http.MethodGet, u.system.Queries()+"/v1/customers/"+u.id("sent-to-%d", who), "")
			if err != nil {
				return err
			}
			var c customer
			if err := json.Unmarshal(a.Body, &c); err != nil || a.Status != http.StatusOK || c.spent() != want || c.Statuses.Placed != orders {
				return fmt.Errorf("customer %d, who spent %d with %d orders, is shown as %s", who, want, orders, a)
			}
			looks.Add(1)
		}
		return nil
	})
	looked := func() {
		t.Helper()
		before := looks.Load()
		await(t, "some looks", func() error {
			if now := looks.Load(); now < before+2*sentCustomers {
				return fmt.Errorf("%d", now-before)
			}
			return nil
		})
	}
	looked()
	first := u.active(t, "customer-orders").ID
	out := u.must(t, "rebuild", "run", "customer-orders", "--promote")
	if !strings.Contains(out, "is verified and active") || !strings.Contains(out, " 0 differences") {
		t.Errorf("rebuild run: %s", out)
	}
	second := u.active(t, "customer-orders").ID
	if second == first {
		t.Error("the generation of before is still active")
	}
	looked()
	u.must(t, "rebuild", "rollback", "customer-orders")
	if now := u.active(t, "customer-orders").ID; now != first {
		t.Errorf("%s is active after the rollback, want %s", now, first)
	}
	looked()
	stop()
	if err := readers.Wait(); err != nil {
		t.Errorf("beside the rebuild: %v", err)
	}
	w.flows(t)
	w.finish(t)
	u.verified(t)
}

// alteredDocumentIsFound changes a document behind the product's back: verify names it, and a rebuild mends
// it.
func alteredDocumentIsFound(t *testing.T, u *suite) {
	id := u.id("sent-7")
	line := strings.TrimSpace(u.must(t, "processor", "key", "order-status", id))
	words := strings.Fields(line)
	if len(words) < 3 || words[len(words)-3] != "HGET" {
		t.Fatalf("processor key prints %s", line)
	}
	key, field := strings.Trim(words[len(words)-2], "'"), strings.Trim(words[len(words)-1], "'")
	client, err := u.stack.Redis()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	text, err := client.HGet(t.Context(), key, field).Result()
	if err != nil || !strings.Contains(text, "placed") {
		t.Fatalf("%s: %q, %v", line, text, err)
	}
	if err := client.HSet(t.Context(), key, field, strings.Replace(text, "placed", "paid", 1)).Err(); err != nil {
		t.Fatal(err)
	}
	if e := u.end(t, nil, "rebuild", "verify", "order-status"); e.Code != 1 || !strings.Contains(e.Stdout+e.Stderr, id) {
		t.Errorf("verify: exit %d, want 1 and %s named: %s%s", e.Code, id, e.Stdout, e.Stderr)
	}
	u.must(t, "rebuild", "run", "order-status", "--promote")
	u.must(t, "rebuild", "verify", "order-status")
	await(t, "the mended order", func() error { // readers learn of a promotion within a second
		if a := u.get(t, "/v1/orders/"+id); !strings.Contains(string(a.Body), `"status":"placed"`) {
			return fmt.Errorf("it is shown as %s", a)
		}
		return nil
	})
}
