package storetest

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/readstore"
)

// history is the plainest model of a bucket: where its sources stand, and every operation in order.
type history struct {
	checkpoints readstore.Checkpoints
	ops         []readstore.Op
}

// content folds the history.
func (h *history) content() readstore.Content {
	c := readstore.Content{
		Documents: map[string]string{}, Sums: map[string]int64{}, Entries: map[string]string{},
		Ranked: map[string]map[string]int64{}, Parked: map[string]string{}, Checkpoints: h.checkpoints,
	}
	for _, op := range h.ops {
		switch op.Kind {
		case readstore.SetDocument:
			c.Documents[op.ID] = op.Value
		case readstore.SetEntry:
			c.Entries[op.ID+"/"+op.Field] = op.Value
		case readstore.SetParked:
			if c.Parked[op.Field+"/"+op.ID] = op.Value; op.Value == "" {
				delete(c.Parked, op.Field+"/"+op.ID)
			}
		case readstore.AddSum:
			c.Sums[op.ID+"/"+op.Field] += op.Delta
			if op.Rank == "" {
				continue
			}
			if c.Ranked[op.Rank] == nil {
				c.Ranked[op.Rank] = map[string]int64{}
			}
			c.Ranked[op.Rank][op.ID] = c.Sums[op.ID+"/"+op.Field]
		}
	}
	return c
}

var (
	randomID     = rapid.SampledFrom([]string{"a", "b", "b-1", "~"})
	randomField  = rapid.SampledFrom([]string{"x", "x/y", "s", "e/"})
	randomSource = rapid.SampledFrom([]readstore.Source{left, right, {Aggregate: "payment", Partition: 0}})
	randomOp     = rapid.Custom(func(t *rapid.T) readstore.Op {
		id, field := randomID.Draw(t, "id"), randomField.Draw(t, "field")
		value := rapid.String().Draw(t, "value")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return document(id, value)
		case 1:
			return entry(id, field, value)
		case 2:
			return readstore.Op{Kind: readstore.SetParked, ID: id + rapid.SampledFrom([]string{"", "/x"}).Draw(t, "more"), Field: "order", Value: value}
		default:
			return sum(id, field, rapid.Int64Range(-1<<40, 1<<40).Draw(t, "delta"), rapid.SampledFrom([]string{"", "l", "l:2"}).Draw(t, "list"))
		}
	})
)

// randomWrites makes random writes, with right and wrong Froms, and compares after each step.
func randomWrites(t *testing.T, s readstore.Store) {
	generation := 0
	rapid.Check(t, func(rt *rapid.T) {
		generation++
		b := readstore.Bucket{Model: "random", Generation: fmt.Sprintf("g%d", generation)}
		want := &history{checkpoints: readstore.Checkpoints{}}
		offset := int64(0)
		draw := func(rt *rapid.T) (readstore.Write, bool) {
			w := readstore.Write{Bucket: b, Ops: rapid.SliceOfN(randomOp, 0, 6).Draw(rt, "ops")}
			right := true
			for _, source := range rapid.SliceOfNDistinct(randomSource, 1, 3, rapid.ID).Draw(rt, "sources") {
				offset++
				a := readstore.Advance{Source: source, From: want.checkpoints[source], To: at(offset)}
				if rapid.IntRange(0, 4).Draw(rt, "wrong") == 0 {
					a.From, right = at(offset+1000), false
				}
				w.Advances = append(w.Advances, a)
			}
			return w, right
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				w, right := draw(rt)
				results, err := s.Apply(t.Context(), []readstore.Write{w})
				if err != nil || results[0].Err != nil || results[0].Applied != right {
					rt.Fatalf("write with right froms %v: %+v %v", right, results, err)
				}
				if right {
					want.ops = append(want.ops, w.Ops...)
				}
				stored := readstore.Checkpoints{}
				for _, a := range w.Advances {
					if c, ok := want.checkpoints[a.Source]; ok {
						stored[a.Source] = c
					}
					if right {
						want.checkpoints[a.Source] = a.To
					}
				}
				if !right && !maps.Equal(results[0].Stored, stored) {
					rt.Fatalf("refused write shows %v, want %v", results[0].Stored, stored)
				}
			},
			"": func(rt *rapid.T) {
				got, err := s.Inspect(t.Context(), b)
				if err != nil || len(got.Strange) > 0 {
					rt.Fatalf("inspecting: %q %v", got.Strange, err)
				}
				if d := difference(got, want.content()); d != "" {
					rt.Fatalf("bucket holds %s", d)
				}
			},
			"read a document": func(rt *rapid.T) {
				readLikeModel(rt, t, s, b, want.content())
			},
		})
	})
}

// readLikeModel compares a document's sums and entries, read by their own methods.
func readLikeModel(rt *rapid.T, t *testing.T, s readstore.Store, b readstore.Bucket, want readstore.Content) {
	id := randomID.Draw(rt, "id")
	sums, checkpoints, err := s.Sums(t.Context(), b, id)
	if err != nil {
		rt.Fatal(err)
	}
	entries, _, err := s.Entries(t.Context(), b, id, "", 100)
	if err != nil {
		rt.Fatal(err)
	}
	got := readstore.Content{Sums: map[string]int64{}, Entries: map[string]string{}, Checkpoints: checkpoints}
	for field, sum := range sums {
		got.Sums[id+"/"+field] = sum
	}
	for i, e := range entries {
		if i > 0 && e.Field <= entries[i-1].Field {
			rt.Fatalf("entries are out of order: %q", entries)
		}
		got.Entries[id+"/"+e.Field] = e.Value
	}
	notOfID := func(name string) bool { return len(name) <= len(id) || name[:len(id)+1] != id+"/" }
	maps.DeleteFunc(want.Sums, func(name string, _ int64) bool { return notOfID(name) })
	maps.DeleteFunc(want.Entries, func(name, _ string) bool { return notOfID(name) })
	parked, _, err := s.Parked(t.Context(), b, "order/"+id, "order/none")
	if err != nil {
		rt.Fatal(err)
	}
	all, _, err := s.Parked(t.Context(), b)
	if err != nil || !maps.Equal(all, want.Parked) {
		rt.Fatalf("parked are %v, %v, want %v", all, err, want.Parked)
	}
	got.Parked = parked
	maps.DeleteFunc(want.Parked, func(name, _ string) bool { return name != "order/"+id })
	want.Documents, want.Ranked = nil, nil
	if d := difference(got, want); d != "" {
		rt.Fatalf("%s has %s", id, d)
	}
}
