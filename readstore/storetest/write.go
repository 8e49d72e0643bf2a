package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

func emptyBucket(t *testing.T, s readstore.Store) {
	mustHold(t, s, bucket, readstore.Content{})
	documents, checkpoints, err := s.Load(t.Context(), bucket, []string{"o-1"})
	if err != nil || len(documents) != 0 || len(checkpoints) != 0 {
		t.Fatalf("loaded %v %v %v", documents, checkpoints, err)
	}
	if _, _, err := s.Load(t.Context(), bucket, nil); err != nil {
		t.Fatalf("loading no documents: %v", err)
	}
	if results := apply(t, s); len(results) != 0 {
		t.Fatalf("no writes had results %v", results)
	}
}

func appliedIsLoaded(t *testing.T, s readstore.Store) {
	text := "{\"name\":\"Zoë \\u0000\",\"raw\":\"a\x00b\r\n\xff\"}"
	mustApply(t, s, write(0, 10, document("o-1", text), document("o-2", `{}`), document("o-3", "")))
	mustApply(t, s, write(10, 12, document("o-2", `{"v":2}`)))
	documents, checkpoints, err := s.Load(t.Context(), bucket, []string{"o-3", "o-2", "o-1", "o-9"})
	if err != nil {
		t.Fatal(err)
	}
	want := readstore.Content{
		Documents:   map[string]string{"o-1": text, "o-2": `{"v":2}`, "o-3": ""},
		Checkpoints: readstore.Checkpoints{left: at(12)},
	}
	if d := difference(readstore.Content{Documents: documents, Checkpoints: checkpoints}, want); d != "" {
		t.Fatalf("loaded %s", d)
	}
	mustHold(t, s, bucket, want)
	other := bucket
	other.Number = 1
	mustHold(t, s, other, readstore.Content{})
}

func refusedChangesNothing(t *testing.T, s readstore.Store) {
	ops := []readstore.Op{document("o-1", `{"bad":1}`), sum("c-1", "orders", 1, "by-orders"), entry("c-1", "o-1", "Placed")}
	mustRefuse(t, s, write(5, 6, ops...), readstore.Checkpoints{})
	mustHold(t, s, bucket, readstore.Content{})

	mustApply(t, s, write(0, 10, document("o-1", `{}`), sum("c-1", "orders", 1, "by-orders"), entry("c-1", "o-1", "Paid")))
	before := inspect(t, s, bucket)
	for _, from := range []int64{0, 9, 11} { // from nothing, behind, ahead
		mustRefuse(t, s, write(from, 20, ops...), readstore.Checkpoints{left: at(10)})
	}
	mustHold(t, s, bucket, before)
	mustApply(t, s, write(10, 10)) // standing still is an advance like any other
}

func everySourceMustMatch(t *testing.T, s readstore.Store) {
	both := func(l, r readstore.Advance) readstore.Write {
		return readstore.Write{Bucket: bucket, Advances: []readstore.Advance{l, r}, Ops: []readstore.Op{sum("c-1", "orders", 1, "")}}
	}
	third := readstore.Source{Aggregate: "payment", Partition: 3}
	mustApply(t, s, readstore.Write{Bucket: bucket, Advances: []readstore.Advance{advance(third, 0, 7)}})
	mustApply(t, s, write(0, 10))
	mustRefuse(t, s, both(advance(left, 10, 20), advance(right, 4, 5)), readstore.Checkpoints{left: at(10)})
	mustRefuse(t, s, both(advance(right, 0, 5), advance(left, 9, 20)), readstore.Checkpoints{left: at(10)})
	mustApply(t, s, both(advance(left, 10, 20), advance(right, 0, 5)))
	mustRefuse(t, s, both(advance(left, 20, 30), advance(right, 4, 6)), readstore.Checkpoints{left: at(20), right: at(5)})
	mustHold(t, s, bucket, readstore.Content{
		Sums:        map[string]int64{"c-1/orders": 1},
		Checkpoints: readstore.Checkpoints{left: at(20), right: at(5), third: at(7)},
	})
}

func everyPartIsCompared(t *testing.T, s readstore.Store) {
	mustApply(t, s, write(0, 10))
	for name, change := range map[string]func(*readstore.Checkpoint){
		"generation":   func(c *readstore.Checkpoint) { c.Generation = "other" },
		"code version": func(c *readstore.Checkpoint) { c.CodeVersion++ },
		"topic":        func(c *readstore.Checkpoint) { c.TopicID = "other" },
		"offset":       func(c *readstore.Checkpoint) { c.Offset++ },
		"command":      func(c *readstore.Checkpoint) { c.Command-- },
		"change":       func(c *readstore.Checkpoint) { c.Change = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			w := write(10, 20)
			change(&w.Advances[0].From)
			mustRefuse(t, s, w, readstore.Checkpoints{left: at(10)})
		})
	}
}

func writesOnTheirOwn(t *testing.T, s readstore.Store) {
	other := bucket
	other.Number = 2
	results := apply(t, s,
		write(0, 10, document("o-1", "1")),
		write(5, 6, document("o-1", "bad")),
		readstore.Write{Bucket: other, Advances: []readstore.Advance{advance(right, 0, 3)}, Ops: []readstore.Op{document("o-2", "2")}},
		write(10, 20, document("o-1", "3")),
	)
	for i, want := range []bool{true, false, true, true} {
		if results[i].Applied != want || results[i].Err != nil {
			t.Errorf("write %d: %+v", i, results[i])
		}
	}
	if got := results[1].Stored[left]; got != at(10) {
		t.Errorf("the second write found %v", got)
	}
	mustHold(t, s, bucket, readstore.Content{Documents: map[string]string{"o-1": "3"}, Checkpoints: readstore.Checkpoints{left: at(20)}})
	mustHold(t, s, other, readstore.Content{Documents: map[string]string{"o-2": "2"}, Checkpoints: readstore.Checkpoints{right: at(3)}})
}

func impossibleWrites(t *testing.T, s readstore.Store) {
	unknown := document("o-1", "{}")
	unknown.Kind = 'x'
	for name, bad := range map[string]readstore.Write{
		"id with a slash": write(0, 2, document("o/1", "{}")),
		"unknown kind":    write(0, 2, unknown),
		"no advance":      {Bucket: bucket, Ops: []readstore.Op{document("o-1", "{}")}},
	} {
		t.Run(name, func(t *testing.T) {
			if results, err := s.Apply(t.Context(), []readstore.Write{write(0, 1), bad}); err == nil {
				t.Fatalf("no error but %+v", results)
			}
			mustHold(t, s, bucket, readstore.Content{}) // the good write before it was not made either
		})
	}
}

func largeWrites(t *testing.T, s readstore.Store) {
	const n = 20_000
	want := readstore.Content{
		Documents: map[string]string{}, Sums: map[string]int64{}, Entries: map[string]string{},
		Ranked: map[string]map[string]int64{"by-total": {}}, Checkpoints: readstore.Checkpoints{left: at(n)},
	}
	ids := make([]string, n)
	var ops []readstore.Op
	for i := range n {
		id := fmt.Sprintf("c-%d", i)
		ids[i] = id
		want.Documents[id] = fmt.Sprintf(`{"n":%d}`, i)
		want.Sums[id+"/total"] = int64(i)
		want.Ranked["by-total"][id] = int64(i)
		want.Entries["c-0/"+id] = id
		ops = append(ops, document(id, want.Documents[id]), sum(id, "total", int64(i), "by-total"), entry("c-0", id, id))
	}
	mustApply(t, s, write(0, n, ops...))
	mustHold(t, s, bucket, want)
	documents, _, err := s.Load(t.Context(), bucket, ids)
	if err != nil {
		t.Fatal(err)
	}
	if d := difference(readstore.Content{Documents: documents}, readstore.Content{Documents: want.Documents}); d != "" {
		t.Fatalf("loaded other documents than were written")
	}
	page, _, err := s.Entries(t.Context(), bucket, "c-0", "", n)
	if err != nil || len(page) != n {
		t.Fatalf("%d entries: %v", len(page), err)
	}
}

func endedContext(t *testing.T, s readstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, applied := s.Apply(ctx, []readstore.Write{write(0, 1)})
	_, _, loaded := s.Load(ctx, bucket, []string{"o-1"})
	_, inspected := s.Inspect(ctx, bucket)
	_, cataloged := s.Catalog(ctx, bucket.Model)
	updated := s.UpdateCatalog(ctx, bucket.Model, readstore.Catalog{})
	dropped := s.Drop(ctx, readstore.Generation{ID: "g", Model: "m", Buckets: 1})
	for i, err := range []error{applied, loaded, inspected, cataloged, updated, dropped} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d returned %v", i, err)
		}
	}
	mustHold(t, s, bucket, readstore.Content{})
}
