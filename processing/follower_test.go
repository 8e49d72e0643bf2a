package processing

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

var (
	jar0 = readstore.Source{Aggregate: "jar", Partition: 0}
	jar1 = readstore.Source{Aggregate: "jar", Partition: 1}
)

// follow makes a follower that is assigned every source of l.
func follow(t *testing.T, m *ReadModel, l *sliceLog, store readstore.Writer) *reader {
	t.Helper()
	f, err := NewFollower(FollowerConfig{Model: m, Generation: generationFrom(m, l), Store: store})
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{f: f, positions: map[readstore.Source]int64{}}
	if err := r.assign(l.sources()); err != nil {
		t.Fatal(err)
	}
	return r
}

// feedAll feeds a reader to the end of the log.
func feedAll(t *testing.T, r *reader, l *sliceLog) {
	t.Helper()
	for runs := 0; !r.atEnd(l); runs++ {
		if err := r.step(l, l.sources(), 10); err != nil || runs > 1000 {
			t.Fatalf("after %d runs: %v", runs, err)
		}
	}
}

func mustHold(t *testing.T, store readstore.Store, m *ReadModel, l *sliceLog) {
	t.Helper()
	g := generationFrom(m, l)
	if wrong := checkStore(store, m, g, l); wrong != "" {
		t.Error(wrong)
	}
	if wrong := checkEnd(store, m, g, l); wrong != "" {
		t.Error(wrong)
	}
}

func TestGapIsReadAgainNeverSkipped(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 2, "cup": 1}), memstore.New()
		for range 3 {
			l.append(jar0, "a", Deposited{"ann", 1})
			l.append(jar1, "b", Deposited{"bob", 2})
		}
		r := follow(t, m, l, store)
		in := l.fetch(map[readstore.Source]int64{jar0: 2, jar1: 0}, 10) // jar/0 lacks its first event
		rewind, err := r.f.Apply(t.Context(), in)
		if want := (map[readstore.Source]int64{jar0: 0, jar1: 0}); err != nil || !maps.Equal(rewind, want) {
			t.Errorf("%s: rewind %v, %v; want %v: nothing of the run is applied, so all of it is read again", m.Name, rewind, err, want)
		}
		if _, c, err := store.Load(t.Context(), readstore.Bucket{Model: m.Name, Generation: "g1"}, nil); err != nil || len(c) > 0 {
			t.Errorf("%s: written beside a gap: %v %v", m.Name, c, err)
		}
		feedAll(t, r, l)
		mustHold(t, store, m, l)
	}
}

func TestEventThatCannotBeAppliedIsParkedWithWhatFollows(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 2, "cup": 1}), memstore.New()
		l.append(jar0, "a", Deposited{"ann", 1}, Deposited{"ann", 2})
		l.append(jar1, "b", Deposited{"bob", 1}, Late{"bob", 2}, Deposited{"bob", 3})
		l.append(jar1, "c", Late{"bob", 5}) // not to be decoded
		l.append(jar1, "d", Deposited{"bob", 7})
		r := follow(t, m, l, store)
		feedAll(t, r, l)
		mustHold(t, store, m, l)
		g := generationFrom(m, l)
		if err := store.UpdateCatalog(t.Context(), m.Name, readstore.Catalog{Generations: map[string]readstore.Generation{g.ID: g}}); err != nil {
			t.Fatal(err)
		}
		list, err := ListParked(t.Context(), store, m)
		if err != nil || len(list) != 2 || list[0].AggregateID != "b" || list[1].AggregateID != "c" || len(list[0].Events) != 2 {
			t.Fatalf("%s: parked are %+v, %v", m.Name, list, err)
		}
		if want := "event at jar/1@1 (processing.Late): something weird"; list[0].Cause != want {
			t.Errorf("%s: cause %q, want %q", m.Name, list[0].Cause, want)
		}
		// The older build gets no further, the newer one to the end.
		cfg := RedriveConfig{Model: m, Store: store, Events: oneBuild{l, false}, Aggregate: "jar", ID: "b"}
		if done, err := Redrive(t.Context(), cfg); err != nil || done[0].Applied != 0 || done[0].Left != 2 || done[0].Cause != list[0].Cause {
			t.Errorf("%s: the older build redrives %+v, %v", m.Name, done, err)
		}
		for _, p := range list {
			cfg := RedriveConfig{Model: newer(m), Store: store, Events: oneBuild{l, true}, Aggregate: "jar", ID: p.AggregateID, DryRun: true}
			for _, dry := range []bool{true, false} {
				cfg.DryRun = dry
				if done, err := Redrive(t.Context(), cfg); err != nil || len(done) != 1 || done[0].Applied != len(p.Events) || done[0].Left != 0 {
					t.Errorf("%s: the newer build redrives %s, dry run %v: %+v, %v", m.Name, p.AggregateID, dry, done, err)
				}
			}
			if _, err := Redrive(t.Context(), cfg); !errors.Is(err, ErrNotParked) {
				t.Errorf("%s: once more: %v", m.Name, err)
			}
		}
		l.append(jar1, "b", Deposited{"bob", 9})
		feedAll(t, r, l) // who has the bucket in memory from before
		mustHold(t, store, m, l)
	}
}

func TestMissingVersionIsParkedAndAKnownOneIsIgnored(t *testing.T) {
	l, store := newLog(map[string]int32{"jar": 1}), memstore.New()
	l.append(jar0, "a", Deposited{"ann", 1}, Deposited{"ann", 2})
	l.append(jar0, "a", Deposited{"ann", 3})
	l.records[jar0][2].Version = 2
	l.append(jar0, "a", Deposited{"ann", 4})
	r := follow(t, documents, l, store)
	feedAll(t, r, l)
	bucket := readstore.Bucket{Model: documents.Name, Generation: "g1"}
	texts, c, err := store.Load(t.Context(), bucket, []string{"a"})
	if err != nil || texts["a"] != `{"version":2,"coins":5,"last":[0,1]}` || c[jar0].Offset != 7 || c[jar0].Command != 4 {
		t.Errorf("document %s, checkpoint %+v, %v", texts["a"], c[jar0], err)
	}
	if r.f.Ignored() != 1 {
		t.Errorf("%d events ignored, want 1", r.f.Ignored())
	}
	parked, _, err := store.Parked(t.Context(), bucket)
	if want := `{"partition":0,"cause":"event at jar/0@5 (processing.Deposited): the document is at version 2, the event makes version 4: one in between is missing","events":[{"offset":5,"command":4}]}`; err != nil || parked["jar/a"] != want {
		t.Errorf("parked %s, %v", parked["jar/a"], err)
	}
}

func TestPositionCountsWholeCommandsOnly(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), memstore.New()
		l.append(jar0, "a", Deposited{"ann", 1}, Deposited{"ann", 2}, Deposited{"ann", 3}) // command 0, events 0-2
		l.append(jar0, "a", Deposited{"ann", 4}, Deposited{"ann", 5})                      // command 2, events 4-5
		r := follow(t, m, l, store)
		for i, want := range []int64{-1, -1, 0, 0, 2} {
			if err := r.step(l, []readstore.Source{jar0}, 1); err != nil {
				t.Fatal(err)
			}
			for n := range r.f.Generation().Buckets {
				_, c, err := store.Load(t.Context(), readstore.Bucket{Model: m.Name, Generation: "g1", Number: n}, nil)
				if err != nil || c[jar0].Command != want {
					t.Errorf("%s: after event %d bucket %d has command %d, want %d (%v)", m.Name, i, n, c[jar0].Command, want, err)
				}
			}
		}
	}
}

func TestDocumentThatCannotBeReadOrWrittenIsNotSkipped(t *testing.T) {
	type ratio struct {
		Document
		Ratio float64 `json:"ratio"`
	}
	zero := true
	m := Documents[ratio]{
		Name: "ratios", Collection: "ratios", CodeVersion: 1, Aggregate: "jar",
		Fold: func(doc *ratio, e Event) error {
			doc.Ratio = float64(e.Offset)
			if zero {
				doc.Ratio = math.NaN() // json has no way to write it
			}
			return nil
		},
	}.Erase()
	l, store := newLog(map[string]int32{"jar": 1}), memstore.New()
	l.append(jar0, "a", Deposited{"ann", 1})
	r := follow(t, m, l, store)
	bucket := readstore.Bucket{Model: m.Name, Generation: "g1"}
	for range 3 {
		var unsupported *json.UnsupportedValueError
		if err := r.step(l, l.sources(), 10); !errors.As(err, &unsupported) {
			t.Errorf("a document that cannot be written: %v", err)
		}
	}
	zero = false
	feedAll(t, r, l)
	texts, c, _ := store.Load(t.Context(), bucket, []string{"a"})
	if texts["a"] != `{"version":1,"ratio":0}` {
		t.Errorf("document %s", texts["a"])
	}

	// Somebody breaks the document behind our back, and repairs it later.
	set := func(text string) {
		_, err := store.Apply(t.Context(), []readstore.Write{{
			Bucket: bucket, Advances: []readstore.Advance{{Source: jar0, From: c[jar0], To: c[jar0]}},
			Ops: []readstore.Op{{Kind: readstore.SetDocument, ID: "a", Value: text}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(`{"version":`)
	l.append(jar0, "a", Deposited{"ann", 1})
	r = follow(t, m, l, store)
	for range 3 {
		var syntax *json.SyntaxError
		if err := r.step(l, l.sources(), 10); !errors.As(err, &syntax) {
			t.Errorf("a document that cannot be read: %v", err)
		}
	}
	set(texts["a"])
	feedAll(t, r, l)
	if texts, _, _ := store.Load(t.Context(), bucket, []string{"a"}); texts["a"] != `{"version":2,"ratio":2}` {
		t.Errorf("document %s", texts["a"])
	}
}

func TestCacheIsBounded(t *testing.T) {
	l, store := newLog(map[string]int32{"jar": 1}), newShakyStore()
	ids := []string{"a", "b", "c", "d", "e", "f"}
	r := follow(t, documents, l, store)
	r.f.cfg.CacheBytes = 60 + 3*documentOverhead // three of them
	for round := range 3 {
		for _, id := range ids {
			l.append(jar0, id, Deposited{"ann", int64(round)})
			if err := r.step(l, l.sources(), 10); err != nil {
				t.Fatal(err)
			}
			if n := len(r.f.buckets[0].documents); n > 4 {
				t.Fatalf("%d documents held", n)
			}
		}
	}
	// A run that needs more than the bound still goes through.
	for _, id := range ids {
		l.append(jar0, id, Deposited{"ann", 7})
	}
	feedAll(t, r, l)
	mustHold(t, store, documents, l)
	// What is held is not loaded again.
	l.append(jar0, "f", Deposited{"ann", 8})
	before := store.loads
	if feedAll(t, r, l); store.loads != before {
		t.Errorf("%d loads of a document that was held", store.loads-before)
	}
}

func TestStrangersCostNothing(t *testing.T) {
	l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), newShakyStore()
	cup0 := readstore.Source{Aggregate: "cup", Partition: 0}
	r := follow(t, documents, l, store)
	l.append(cup0, "a", Deposited{"ann", 1})
	before := store.loads
	rewind, err := r.f.Apply(t.Context(), l.fetch(map[readstore.Source]int64{cup0: 0}, 10))
	if err != nil || len(rewind) > 0 || store.loads != before || len(store.history) > 0 {
		t.Errorf("events of another aggregate: rewind %v, %v, %d loads, %d writes", rewind, err, store.loads-before, len(store.history))
	}
}

func TestFollowerRefusesAnotherLogsCheckpoints(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), memstore.New()
		l.append(jar0, "a", Deposited{"ann", 1})
		r := follow(t, m, l, store)
		other := generationFrom(m, l)
		other.TopicIDs = map[string]string{"jar": "recreated", "cup": "recreated"}
		stranger, err := NewFollower(FollowerConfig{Model: m, Generation: other, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Assign(t.Context(), l.sources()); err != nil {
			t.Fatal(err) // nothing is stored yet
		}
		feedAll(t, r, l)
		if _, err := stranger.Apply(t.Context(), l.fetch(map[readstore.Source]int64{jar0: 0}, 1)); err == nil || !strings.Contains(err.Error(), "recreated") {
			t.Errorf("%s: write over another log's checkpoint: %v", m.Name, err)
		}
		if _, err := stranger.Assign(t.Context(), l.sources()); err == nil || !strings.Contains(err.Error(), "recreated") {
			t.Errorf("%s: load of another log's checkpoint: %v", m.Name, err)
		}
	}
	g := generationFrom(documents, newLog(map[string]int32{"jar": 1}))
	g.CodeVersion = 2
	if _, err := NewFollower(FollowerConfig{Model: documents, Generation: g, Store: memstore.New()}); err == nil {
		t.Error("a follower of another code version is made")
	}
	if _, err := NewFollower(FollowerConfig{Model: documents, Store: memstore.New()}); err == nil {
		t.Error("a follower of no generation is made")
	}
}

// TestRewindMarksANewHistory: what is written after the store fell back must not be taken for what was
// written before.
func TestRewindMarksANewHistory(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), newShakyStore()
		l.append(jar0, "a", Deposited{"ann", 1})
		r := follow(t, m, l, store)
		feedAll(t, r, l)
		kept := len(store.history)
		bucket := readstore.Bucket{Model: m.Name, Generation: "g1"}
		first := checkpointOf(t, store, bucket)
		l.append(jar0, "a", Deposited{"ann", 2})
		feedAll(t, r, l)
		second := checkpointOf(t, store, bucket)
		if second.Change != first.Change {
			t.Errorf("%s: the change number moves without cause: %v, %v", m.Name, first, second)
		}
		store.rollBack(kept)
		l.append(jar0, "a", Deposited{"ann", 3})
		feedAll(t, r, l)
		if third := checkpointOf(t, store, bucket); third.Change == second.Change || third.Offset != 6 {
			t.Errorf("%s: after a rewind %v, before %v", m.Name, third, second)
		}
		mustHold(t, store, m, l)
	}
}

func checkpointOf(t *testing.T, store readstore.Writer, b readstore.Bucket) readstore.Checkpoint {
	t.Helper()
	_, c, err := store.Load(context.Background(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c[jar0]
}
