package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

const model = "order-status"

func catalog(t *testing.T, s readstore.Store) readstore.Catalog {
	t.Helper()
	c, err := s.Catalog(t.Context(), model)
	if err != nil {
		t.Fatalf("reading the catalog: %v", err)
	}
	return c
}

// mustUpdate stores c and returns it as read again.
func mustUpdate(t *testing.T, s readstore.Store, c readstore.Catalog) readstore.Catalog {
	t.Helper()
	if err := s.UpdateCatalog(t.Context(), model, c); err != nil {
		t.Fatalf("storing the catalog: %v", err)
	}
	got := catalog(t, s)
	if got.Revision == c.Revision {
		t.Fatalf("revision %q did not change", c.Revision)
	}
	c.Revision = got.Revision
	if !reflect.DeepEqual(got, c) {
		t.Fatalf("catalog is\n%+v, want\n%+v", got, c)
	}
	return got
}

func generation(id string) readstore.Generation {
	at := time.Date(2026, 11, 23, 9, 30, 0, 123456789, time.UTC)
	return readstore.Generation{
		ID: id, Model: model, State: readstore.Building, CodeVersion: 3, Buckets: 12, ClusterID: "MkU3OEVBNTcwNTJENDM2Qk",
		TopicIDs: map[string]string{"order": "J3kUyCkGSbu2rT8mzCkJEw"}, CreatedAt: at, Builder: "host-1", LeaseUntil: at.Add(time.Minute),
	}
}

func catalogRoundTrip(t *testing.T, s readstore.Store) {
	c := catalog(t, s)
	if c.Active != "" || c.Standby != "" || len(c.Generations) != 0 {
		t.Fatalf("unknown model has catalog %+v", c)
	}
	if _, ok := c.ActiveGeneration(); ok {
		t.Fatal("unknown model has an active generation")
	}
	c.Generations = map[string]readstore.Generation{"g1": generation("g1"), "g2": generation("g2")}
	c.Active, c.Standby = "g1", "g2"
	c = mustUpdate(t, s, c)
	if g, ok := c.ActiveGeneration(); !ok || g.ID != "g1" {
		t.Fatalf("active generation is %+v, %v", g, ok)
	}
	ready := c.Generations["g2"]
	ready.State, ready.ReadyAt, ready.Builder, ready.LeaseUntil = readstore.Ready, ready.CreatedAt.Add(time.Hour), "", time.Time{}
	c.Generations = map[string]readstore.Generation{"g2": ready} // g1 is gone
	c.Active, c.Standby = "g2", ""
	c = mustUpdate(t, s, c)
	c.Active, c.Generations = "", map[string]readstore.Generation{}
	mustUpdate(t, s, c)
	other, err := s.Catalog(t.Context(), "customer-orders")
	if err != nil || other.Revision != "" || len(other.Generations) != 0 {
		t.Fatalf("another model has catalog %+v, %v", other, err)
	}
}

func catalogCompared(t *testing.T, s readstore.Store) {
	first := catalog(t, s)
	first.Generations = map[string]readstore.Generation{"g1": generation("g1")}
	kept := mustUpdate(t, s, first)

	late := first // read before the update
	late.Active = "g9"
	late.Generations = map[string]readstore.Generation{"g9": generation("g9")}
	for _, revision := range []string{late.Revision, "", "no such revision"} {
		late.Revision = revision
		if err := s.UpdateCatalog(t.Context(), model, late); !errors.Is(err, readstore.ErrCatalogChanged) {
			t.Fatalf("late update from revision %q returned %v", revision, err)
		}
	}
	if got := catalog(t, s); !reflect.DeepEqual(got, kept) {
		t.Fatalf("a late update left %+v, want %+v", got, kept)
	}
	// What the caller does with its copy later is its own.
	kept.Generations["g1"].TopicIDs["order"] = "changed"
	kept.Generations["g2"] = generation("g2")
	if got := catalog(t, s); len(got.Generations) != 1 || got.Generations["g1"].TopicIDs["order"] == "changed" {
		t.Fatalf("the catalog shares memory with its reader: %+v", got)
	}
}

func oneCatalogWriterWins(t *testing.T, s readstore.Store) {
	const writers, each = 4, 10
	var refused atomic.Int64
	var wg sync.WaitGroup
	add := func(ctx context.Context, id string) error {
		for {
			c, err := s.Catalog(ctx, model)
			if err != nil {
				return err
			}
			c.Generations[id] = generation(id)
			if err = s.UpdateCatalog(ctx, model, c); !errors.Is(err, readstore.ErrCatalogChanged) {
				return err
			}
			refused.Add(1)
		}
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := add(t.Context(), fmt.Sprintf("g%d-%d", w, i)); err != nil {
					t.Errorf("adding a generation: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(catalog(t, s).Generations); got != writers*each {
		t.Fatalf("%d generations of %d survived", got, writers*each)
	}
	t.Logf("%d updates were refused and made again", refused.Load())
}

func dropRemovesAll(t *testing.T, s readstore.Store) {
	full := func(b readstore.Bucket) readstore.Write {
		return readstore.Write{Bucket: b, Advances: []readstore.Advance{advance(left, 0, 1)}, Ops: []readstore.Op{
			document("o-1", "{}"), sum("c-1", "total", 1, "gbp"), sum("c-1", "total", 1, "usd"), entry("c-1", "o-1", "Paid"),
		}}
	}
	buckets := func(generation string) (all []readstore.Bucket) {
		for n := range 12 {
			all = append(all, readstore.Bucket{Model: model, Generation: generation, Number: n})
		}
		return all
	}
	for _, id := range []string{"g1", "g10", "g1.0"} { // ids that begin alike
		for _, b := range buckets(id) {
			mustApply(t, s, full(b))
		}
	}
	kept := catalog(t, s)
	kept.Generations = map[string]readstore.Generation{"g1": generation("g1")}
	kept = mustUpdate(t, s, kept)
	for range 2 { // the second time there is nothing left to drop
		if err := s.Drop(t.Context(), generation("g1")); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range buckets("g1") {
		mustHold(t, s, b, readstore.Content{})
	}
	for _, b := range slices.Concat(buckets("g10"), buckets("g1.0")) {
		if content := inspect(t, s, b); len(content.Documents) != 1 || len(content.Ranked) != 2 {
			t.Errorf("%s lost something: %+v", b, content)
		}
	}
	if got := catalog(t, s); !reflect.DeepEqual(got, kept) {
		t.Errorf("dropping changed the catalog to %+v", got)
	}
}
