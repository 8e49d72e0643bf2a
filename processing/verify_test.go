package processing

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

// tamperedStore shows bucket contents otherwise than they are stored.
type tamperedStore struct {
	readstore.Store
	// before is called ahead of each look, change with what was seen.
	before func()
	change func(readstore.Bucket, *readstore.Content)
}

func (s *tamperedStore) Inspect(ctx context.Context, b readstore.Bucket) (readstore.Content, error) {
	if s.before != nil {
		s.before()
	}
	c, err := s.Store.Inspect(ctx, b)
	if err == nil && s.change != nil {
		s.change(b, &c)
	}
	return c, err
}

func mustBuild(t *testing.T, cfg RebuildConfig) readstore.Generation {
	t.Helper()
	g, err := Build(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// one returns some key of a map that ends in suffix.
func one[V any](m map[string]V, suffix string) (string, bool) {
	least, found := "", false
	for key := range m {
		if strings.HasSuffix(key, suffix) && (!found || key < least) {
			least, found = key, true
		}
	}
	return least, found
}

func TestVerifyFindsEveryKindOfTampering(t *testing.T) {
	type content = *readstore.Content
	for _, c := range []struct {
		name  string
		model *ReadModel
		// change is called for every bucket until it says that it changed something.
		change func(c content) bool
		want   string // the difference, in part
	}{
		{"document changed", documents, func(c content) bool {
			id, ok := one(c.Documents, "")
			if ok {
				c.Documents[id] = strings.Replace(c.Documents[id], `"coins":`, `"coins":1`, 1)
			}
			return ok
		}, "document jar-"},
		{"document missing", documents, func(c content) bool {
			id, ok := one(c.Documents, "")
			delete(c.Documents, id)
			return ok
		}, "the store holds nothing"},
		{"document extra", documents, func(c content) bool {
			c.Documents["ghost"] = "{}"
			return true
		}, "document ghost in bucket jar-content"},
		{"sum changed", operations, func(c content) bool {
			id, ok := one(c.Sums, "/jar")
			if ok {
				c.Sums[id]++
			}
			return ok
		}, "sum owner-"},
		{"sum missing", operations, func(c content) bool {
			id, ok := one(c.Sums, "/cup")
			delete(c.Sums, id)
			return ok
		}, "the store holds nothing"},
		{"sum of zero extra", operations, func(c content) bool {
			c.Sums["ghost/coins"] = 0
			return true
		}, "the log says nothing, the store holds 0"},
		{"entry changed", operations, func(c content) bool {
			id, ok := one(c.Entries, "")
			if ok {
				c.Entries[id] += "x"
			}
			return ok
		}, "entry owner-"},
		{"entry missing", operations, func(c content) bool {
			id, ok := one(c.Entries, "")
			delete(c.Entries, id)
			return ok
		}, "entry owner-"},
		{"entry extra", operations, func(c content) bool {
			c.Entries["ghost/x"] = ""
			return true
		}, "entry ghost/x"},
		{"rank changed", operations, func(c content) bool {
			id, ok := one(c.Ranked["coins:gold"], "")
			if ok {
				c.Ranked["coins:gold"][id]++
			}
			return ok
		}, "rank in coins:gold of"},
		{"rank missing", operations, func(c content) bool {
			id, ok := one(c.Ranked["coins:gold"], "")
			delete(c.Ranked["coins:gold"], id)
			return ok
		}, "rank in coins:gold of"},
		{"list missing", operations, func(c content) bool {
			_, ok := c.Ranked["coins:gold"]
			delete(c.Ranked, "coins:gold")
			return ok
		}, "rank in coins:gold of"},
		{"list extra", operations, func(c content) bool {
			c.Ranked["coins:lead"] = map[string]int64{"ghost": 0}
			return true
		}, "rank in coins:lead of ghost"},
		{"strange key", operations, func(c content) bool {
			c.Strange = append(c.Strange, "left-over")
			return true
		}, "strange left-over"},
		{"checkpoint missing, documents", documents, func(c content) bool {
			c.Checkpoints = readstore.Checkpoints{}
			return true
		}, "the log says nothing"},
		{"checkpoint missing, operations", operations, func(c content) bool {
			delete(c.Checkpoints, jar0)
			return len(c.Sums) > 0
		}, "sum"},
		{"checkpoint behind", documents, func(c content) bool {
			for s, at := range c.Checkpoints {
				at.Offset = 1
				c.Checkpoints[s] = at
			}
			return len(c.Documents) > 0
		}, "document jar-"},
		{"nothing", documents, func(content) bool { return false }, ""},
		{"nothing", operations, func(content) bool { return false }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, store, _, _ := rebuildOf(c.model, 100)
			g := mustBuild(t, cfg)
			changed := 0
			cfg.Store = &tamperedStore{Store: store, change: func(_ readstore.Bucket, content *readstore.Content) {
				if changed == 0 && c.change(content) {
					changed++
				}
			}}
			v, err := Verify(t.Context(), cfg, g.ID)
			if err != nil {
				t.Fatal(err)
			}
			verified := !catalogOf(t, cfg).Generations[g.ID].VerifiedAt.IsZero()
			if c.want == "" {
				if !v.OK() || !verified || v.Keys == 0 || v.Events != int64(cfg.Events.(*sliceLog).total(c.model)) || v.Generation != g.ID {
					t.Errorf("untouched: %+v, verified %v", v, verified)
				}
				return
			}
			if changed != 1 {
				t.Fatal("nothing was changed")
			}
			if v.OK() || verified || len(v.Differences) == 0 || int64(len(v.Differences)) > v.Count || len(v.Differences) > shownDifferences {
				t.Fatalf("%+v, verified %v", v, verified)
			}
			if first := v.Differences[0].String(); !strings.Contains(first, c.want) {
				t.Errorf("first difference is %q, want %q in it", first, c.want)
			}
		})
	}
}

// TestVerifyOfParkedLists: what waits is taken as it is, if it is in order.
func TestVerifyOfParkedLists(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		for name, row := range map[string]struct {
			change func(*Parked) // of jar/a, events 1 and 2 of which wait
			want   string
		}{
			"in order":          {func(*Parked) {}, ""},
			"the last missing":  {func(p *Parked) { p.Events = p.Events[:1] }, "parked jar/a@2 in bucket"},
			"the first missing": {func(p *Parked) { p.Events = p.Events[1:] }, "event jar/a@1 in bucket"},
			"out of order":      {func(p *Parked) { p.Events = []ParkedEvent{p.Events[1], p.Events[0]} }, "event jar/a@1 in bucket"},
			"one that is none":  {func(p *Parked) { p.Events = append(p.Events, ParkedEvent{3, 0}) }, "the store holds an event that waits"},
			"nothing":           {func(p *Parked) { p.Events = nil }, "event jar/a@1 in bucket"},
		} {
			l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), &tamperedStore{Store: memstore.New()}
			l.append(jar0, "a", Deposited{"ann", 1}, Late{"ann", 2}, Deposited{"ann", 3})
			l.append(jar0, "b", Deposited{"bob", 1})
			cfg := RebuildConfig{Model: m, Store: store, Events: l}
			g := mustBuild(t, cfg)
			store.change = func(_ readstore.Bucket, c *readstore.Content) {
				p, err := ParseParked(c.Parked["jar/a"])
				if err != nil {
					t.Fatal(err)
				}
				row.change(p)
				op, _ := p.op("jar/a")
				if c.Parked["jar/a"] = op.Value; op.Value == "" {
					delete(c.Parked, "jar/a")
				}
			}
			v, err := Verify(t.Context(), cfg, g.ID)
			if err != nil || v.OK() != (row.want == "") || !v.OK() && !strings.Contains(v.Differences[0].String(), row.want) {
				t.Errorf("%s, %s: %+v, %v; want %q", m.Name, name, v, err, row.want)
			}
		}
	}
}

func TestVerifyRefusesWhatItCannotJudge(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, store, l, _ := rebuildOf(m, 50)
		g := mustBuild(t, cfg)
		says := func(generation, want string) {
			t.Helper()
			if v, err := Verify(t.Context(), cfg, generation); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v, %v, want %q", v, err, want)
			}
		}
		says("g9", "no generation")
		says("active", "no active generation")
		if _, err := Promote(t.Context(), cfg, g.ID, true, 0); err != nil {
			t.Fatal(err)
		}
		if v, err := Verify(t.Context(), cfg, "active"); err != nil || v.Generation != g.ID || !v.OK() {
			t.Errorf("active: %+v, %v", v, err)
		}
		mark := l.marks[jar0]
		l.marks[jar0] = Mark{End: mark.End - 2}
		says(g.ID, "events are lost")
		l.marks[jar0] = mark
		cfg.Store = &tamperedStore{Store: store, change: func(_ readstore.Bucket, c *readstore.Content) {
			for s, at := range c.Checkpoints {
				at.TopicID = "recreated"
				c.Checkpoints[s] = at
			}
		}}
		says(g.ID, "topic id recreated")
		cfg.Store = store
		next := *m
		next.CodeVersion = 2
		cfg.Model = &next
		says(g.ID, "code version 1")
		cfg.Model = m
		setState(t, cfg, g.ID, readstore.Building)
		says(g.ID, "not ready")
	})
}

func setState(t *testing.T, cfg RebuildConfig, id string, state readstore.GenerationState) {
	t.Helper()
	err := UpdateCatalog(context.Background(), cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		g := c.Generations[id]
		g.State = state
		c.Generations[id] = g
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestVerifyBesideALiveWriter lets the log grow and a follower write (and the store fall back) between
// any two looks of the verification: what it sees is of many moments, and never wrong.
func TestVerifyBesideALiveWriter(t *testing.T) {
	wrote := 0
	bothModels(t, func(t *testing.T, m *ReadModel) {
		rapid.Check(t, func(t *rapid.T) {
			cfg, store, l, _ := rebuildOf(m, 20)
			g, err := Build(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			f, err := NewFollower(FollowerConfig{Model: m, Generation: g, Store: store, CacheBytes: 3 * documentOverhead})
			if err != nil {
				t.Fatal(err)
			}
			w := &reader{f: f, positions: map[readstore.Source]int64{}}
			if err := w.assign(l.sources()); err != nil {
				t.Fatal(err)
			}
			busy := func() {
				fill(l, rapid.IntRange(0, 5).Draw(t, "commands"))
				if rapid.IntRange(0, 9).Draw(t, "falls") == 0 {
					store.rollBack(rapid.IntRange(len(store.history)/2, len(store.history)).Draw(t, "writes kept"))
				}
				for range rapid.IntRange(0, 4).Draw(t, "runs") {
					if err := w.step(l, l.sources(), rapid.IntRange(1, 9).Draw(t, "run")); err != nil {
						t.Fatal(err)
					}
					wrote++
				}
			}
			cfg.Store = &tamperedStore{Store: store, before: busy}
			l.before = func(*sliceLog) { busy() }
			l.batch = rapid.IntRange(1, 20).Draw(t, "batch")
			v, err := Verify(context.Background(), cfg, g.ID)
			if err != nil || !v.OK() {
				t.Fatalf("%+v, %v", v, err)
			}
		})
	})
	if wrote < 100 {
		t.Errorf("the writer wrote %d times: the test tests too little", wrote)
	}
}

// TestVerifyOfSumsThatRankedListsRound: a store keeps ranked sums as doubles; that is no difference.
func TestVerifyOfSumsThatRankedListsRound(t *testing.T) {
	cfg, store, l, _ := rebuildOf(operations, 0)
	for i := range 3 {
		l.append(jar0, "a", Deposited{"ann", 1<<53 + int64(i)})
	}
	g := mustBuild(t, cfg)
	v, err := Verify(t.Context(), cfg, g.ID)
	if err != nil || !v.OK() {
		t.Errorf("%+v, %v", v, err)
	}
	sums, _, err := store.Sums(t.Context(), readstore.Bucket{Model: operations.Name, Generation: g.ID, Number: readstore.BucketOf("ann", g.Buckets)}, "ann")
	if want := map[string]int64{"coins": 3<<53 + 3, "jar": 3}; err != nil || !maps.Equal(sums, want) {
		t.Errorf("sums %v, want %v (%v)", sums, want, err)
	}
}

func TestVerificationShowsTheFirstDifferences(t *testing.T) {
	cfg, store, l, _ := rebuildOf(documents, 0)
	for i := range 30 {
		l.append(jar0, fmt.Sprintf("jar-%02d", i), Deposited{"ann", 1})
	}
	g := mustBuild(t, cfg)
	cfg.Store = &tamperedStore{Store: store, change: func(_ readstore.Bucket, c *readstore.Content) { clear(c.Documents) }}
	v, err := Verify(t.Context(), cfg, g.ID)
	if err != nil || v.Count != 30 || len(v.Differences) != shownDifferences {
		t.Fatalf("%d differences, %d shown, %v", v.Count, len(v.Differences), err)
	}
	for i, d := range v.Differences {
		if want := fmt.Sprintf("jar-%02d", i); d.Key != want || d.Store != "" || d.Log == "" {
			t.Errorf("difference %d is %+v, want %s", i, d, want)
		}
	}
}
