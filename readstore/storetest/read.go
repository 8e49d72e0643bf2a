package storetest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

func sums(t *testing.T, s readstore.Store) {
	mustApply(t, s, write(0, 1, sum("c-1", "GBP/total", 500, ""), sum("c-1", "orders", 0, ""), sum("c-1", "gone", 5, "")))
	mustApply(t, s, write(1, 2, sum("c-1", "GBP/total", -750, ""), sum("c-1", "gone", -5, ""), sum("c-1", "GBP/total", 1, "")))
	mustApply(t, s, write(2, 3, sum("c-1", "high", highest, ""), sum("c-1", "low", math.MinInt64, ""), sum("c-1", "odd", 1<<53+1, "")))
	got, checkpoints, err := s.Sums(t.Context(), bucket, "c-1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"GBP/total": -249, "orders": 0, "gone": 0, "high": highest, "low": math.MinInt64, "odd": 1<<53 + 1}
	if !maps.Equal(got, want) {
		t.Errorf("sums %v, want %v", got, want)
	}
	if checkpoints[left] != at(3) {
		t.Errorf("checkpoints %v", checkpoints)
	}
	if got, _, err := s.Sums(t.Context(), bucket, "c-2"); err != nil || len(got) != 0 {
		t.Errorf("an unknown document has sums %v, %v", got, err)
	}
	content := inspect(t, s, bucket)
	if len(content.Sums) != len(want) || len(content.Ranked) != 0 {
		t.Errorf("bucket holds sums %v, ranked %v", content.Sums, content.Ranked)
	}
}

func entries(t *testing.T, s readstore.Store) {
	fields := []string{"A", "a", "a/b", "a0", "b", "\xc3\xa9", "\xff"} // in byte order
	ops := []readstore.Op{entry("c-2", "a", "other"), sum("c-1", "a", 1, "")}
	for _, field := range slices.Backward(fields) {
		ops = append(ops, entry("c-1", field, "first"), entry("c-1", field, "value of "+field))
	}
	mustApply(t, s, write(0, 1, ops...))
	var all []readstore.Entry
	for _, field := range fields {
		all = append(all, readstore.Entry{Field: field, Value: "value of " + field})
	}
	page := func(after string, limit int) []readstore.Entry {
		t.Helper()
		got, checkpoints, err := s.Entries(t.Context(), bucket, "c-1", after, limit)
		if err != nil || checkpoints[left] != at(1) {
			t.Fatalf("entries: %v %v", checkpoints, err)
		}
		return got
	}
	for _, limit := range []int{len(all), math.MaxInt} {
		if got := page("", limit); !slices.Equal(got, all) {
			t.Errorf("entries up to %d: %q, want %q", limit, got, all)
		}
	}
	for i := range all {
		if i > 0 {
			if got := page(fields[i-1], 1); !slices.Equal(got, all[i:i+1]) {
				t.Errorf("entry after %q is %q", fields[i-1], got)
			}
		}
	}
	if got := page("aa", 2); !slices.Equal(got, all[4:6]) { // after a field that does not exist
		t.Errorf("entries after aa: %q", got)
	}
	for _, limit := range []int{0, -1} {
		if got := page("", limit); len(got) != 0 {
			t.Errorf("%d entries asked for, got %q", limit, got)
		}
	}
	if got := page("\xff", 10); len(got) != 0 {
		t.Errorf("entries after the last: %q", got)
	}
	mustApply(t, s, write(1, 2, entry("c-1", "a", "changed")))
	got, _, err := s.Entries(t.Context(), bucket, "c-1", "A", 1)
	if err != nil || len(got) != 1 || got[0].Value != "changed" {
		t.Errorf("changed entry is %q, %v", got, err)
	}
}

// rank reads a page that must be read.
func rank(t *testing.T, s readstore.Store, list string, after *readstore.Rank, limit int) []readstore.Rank {
	t.Helper()
	got, checkpoints, err := s.Ranked(t.Context(), bucket, list, after, limit)
	if err != nil || len(checkpoints) == 0 {
		t.Fatalf("ranked list: %v %v", checkpoints, err)
	}
	return got
}

func rankedPages(t *testing.T, s readstore.Store) {
	var all []readstore.Rank // highest sum first, equal sums by id in descending byte order
	var ops []readstore.Op
	for _, total := range []int64{1 << 53, 500, 0, -3} {
		for _, id := range []string{"é", "b", "ab", "a", "B", "A9", "A10"} {
			r := readstore.Rank{ID: fmt.Sprintf("%s.%d", id, total), Sum: total}
			all = append(all, r)
			ops = append(ops, sum(r.ID, "total", total, "by-total"))
		}
	}
	mustApply(t, s, write(0, 1, ops...))
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []readstore.Rank
		var after *readstore.Rank
		for {
			page := rank(t, s, "by-total", after, limit)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			after = &page[len(page)-1]
			if len(got) > len(all) {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Fatalf("pages of %d: %v, want %v", limit, got, all)
		}
	}
	if got := rank(t, s, "by-total", nil, math.MaxInt); !slices.Equal(got, all) {
		t.Errorf("the whole list is %v", got)
	}
	// A place that is not there any more still says where to go on.
	for name, after := range map[string]readstore.Rank{
		"between ids":      {ID: "aa", Sum: 500},
		"between sums":     {ID: "zz", Sum: 499},
		"above everything": {ID: "zz", Sum: highest},
		"below everything": {ID: "", Sum: math.MinInt64},
	} {
		first := slices.IndexFunc(all, func(r readstore.Rank) bool {
			return r.Sum < after.Sum || r.Sum == after.Sum && r.ID < after.ID
		})
		var want []readstore.Rank
		if first >= 0 {
			want = all[first:]
		}
		if got := rank(t, s, "by-total", &after, 100); !slices.Equal(got, want) {
			t.Errorf("after a place %s: %v, want %v", name, got, want)
		}
	}
	for _, limit := range []int{0, -1} {
		if got := rank(t, s, "by-total", nil, limit); len(got) != 0 {
			t.Errorf("%d places asked for, got %v", limit, got)
		}
	}
	if got := rank(t, s, "other", nil, 10); len(got) != 0 {
		t.Errorf("an unknown list has %v", got)
	}
}

func ranksFollow(t *testing.T, s readstore.Store) {
	const list = "total_spent:GBP {x}*"
	mustApply(t, s, write(0, 1, sum("c-1", "GBP", 300, list), sum("c-2", "GBP", 200, list), sum("c-2", "USD", 9, "usd"), sum("c-1", "orders", 7, "")))
	mustApply(t, s, write(1, 2, sum("c-1", "GBP", -250, list), sum("c-3", "GBP", 0, list), sum("c-2", "GBP", 1, list), sum("c-2", "GBP", 1, list)))
	want := []readstore.Rank{{ID: "c-2", Sum: 202}, {ID: "c-1", Sum: 50}, {ID: "c-3", Sum: 0}}
	if got := rank(t, s, list, nil, 10); !slices.Equal(got, want) {
		t.Errorf("list is %v, want %v", got, want)
	}
	mustApply(t, s, write(2, 3, sum("c-1", "GBP", 1000, ""))) // without Rank the place stays
	if got := rank(t, s, list, nil, 10); !slices.Equal(got, want) {
		t.Errorf("list is %v, want %v", got, want)
	}
	mustApply(t, s, write(3, 4, sum("c-1", "GBP", 0, list)))
	want = []readstore.Rank{{ID: "c-1", Sum: 1050}, {ID: "c-2", Sum: 202}, {ID: "c-3", Sum: 0}}
	if got := rank(t, s, list, nil, 10); !slices.Equal(got, want) {
		t.Errorf("list is %v, want %v", got, want)
	}
	wantAll := map[string]map[string]int64{list: {"c-1": 1050, "c-2": 202, "c-3": 0}, "usd": {"c-2": 9}}
	if got := inspect(t, s, bucket).Ranked; !maps.EqualFunc(got, wantAll, maps.Equal) {
		t.Errorf("ranked lists are %v, want %v", got, wantAll)
	}
}

func roundedRanks(t *testing.T, s readstore.Store) {
	mustApply(t, s, write(0, 1,
		sum("exact", "f", 1<<53, "l"), sum("odd", "f", 1<<53+1, "l"), sum("low", "f", math.MinInt64, "l"),
		sum("large", "f", 123456789012345678, "l")))
	want := []readstore.Rank{
		{ID: "large", Sum: 123456789012345680}, {ID: "odd", Sum: 1 << 53}, {ID: "exact", Sum: 1 << 53}, {ID: "low", Sum: math.MinInt64},
	}
	got := rank(t, s, "l", nil, 10)
	if !slices.Equal(got, want) {
		t.Fatalf("list is %v, want %v", got, want)
	}
	for i := range want {
		if rest := rank(t, s, "l", &got[i], 10); !slices.Equal(rest, want[i+1:]) {
			t.Errorf("after %v comes %v", got[i], rest)
		}
	}
}

func similarIDs(t *testing.T, s readstore.Store) {
	ids := []string{"c", "c-1", "c-10", "c-1.", "c-1-e"}
	var ops []readstore.Op
	for i, id := range ids {
		ops = append(ops, sum(id, "s/x", int64(i+1), ""), entry(id, "e/x", id))
	}
	mustApply(t, s, write(0, 1, ops...))
	for i, id := range ids {
		got, _, err := s.Sums(t.Context(), bucket, id)
		if err != nil || !maps.Equal(got, map[string]int64{"s/x": int64(i + 1)}) {
			t.Errorf("sums of %s are %v, %v", id, got, err)
		}
		page, _, err := s.Entries(t.Context(), bucket, id, "", 10)
		if err != nil || !slices.Equal(page, []readstore.Entry{{Field: "e/x", Value: id}}) {
			t.Errorf("entries of %s are %v, %v", id, page, err)
		}
	}
}

func inspectShowsAll(t *testing.T, s readstore.Store) {
	mustApply(t, s, write(0, 4,
		document("o-1", `{"a":1}`), sum("c-1", "GBP/total", 12, "gbp"), sum("c-1", "orders", 1, ""), entry("c-1", "o-1", "Paid")))
	mustApply(t, s, readstore.Write{
		Bucket: bucket, Advances: []readstore.Advance{advance(right, 0, 9)},
		Ops: []readstore.Op{entry("c-2", "o-2", "Placed"), sum("c-2", "USD/total", -3, "usd")},
	})
	neighbour := bucket
	neighbour.Number = 1 // its number begins as bucket's does
	mustApply(t, s, readstore.Write{Bucket: neighbour, Advances: []readstore.Advance{advance(left, 0, 1)}, Ops: []readstore.Op{document("o-7", "{}")}})
	mustHold(t, s, bucket, readstore.Content{
		Documents:   map[string]string{"o-1": `{"a":1}`},
		Sums:        map[string]int64{"c-1/GBP/total": 12, "c-1/orders": 1, "c-2/USD/total": -3},
		Entries:     map[string]string{"c-1/o-1": "Paid", "c-2/o-2": "Placed"},
		Ranked:      map[string]map[string]int64{"gbp": {"c-1": 12}, "usd": {"c-2": -3}},
		Checkpoints: readstore.Checkpoints{left: at(4), right: at(9)},
	})
}
