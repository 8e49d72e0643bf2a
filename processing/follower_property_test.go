package processing

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/readstore"
)

// reader feeds a follower as a consumer does: it moves on after each run, back where it is told to,
// and after an error asks again or offers the same run again.
type reader struct {
	f         *Follower
	newer     bool // the build
	positions map[readstore.Source]int64
}

func (r *reader) assign(sources []readstore.Source) error {
	from, err := r.f.Assign(context.Background(), sources)
	maps.Copy(r.positions, from)
	return err
}

// step offers up to n events of each of the sources in only.
func (r *reader) step(l *sliceLog, only []readstore.Source, n int) error {
	from := map[readstore.Source]int64{}
	for _, s := range only {
		if p, ok := r.positions[s]; ok {
			from[s] = p
		}
	}
	in := l.fetch(from, n)
	if len(in.Upto) == 0 {
		return nil
	}
	if !r.newer {
		in.Events = older(in.Events)
	}
	rewind, err := r.f.Apply(context.Background(), in)
	if err != nil {
		return err
	}
	maps.Copy(r.positions, in.Upto)
	for s, o := range rewind {
		if _, ok := r.positions[s]; ok {
			r.positions[s] = o
		}
	}
	return nil
}

// audit has the follower look for what the store has lost.
func (r *reader) audit() error {
	rewind, err := r.f.Audit(context.Background(), time.Now())
	maps.Copy(r.positions, rewind)
	return err
}

func (r *reader) atEnd(l *sliceLog) bool {
	for s, p := range r.positions {
		if p < l.marks[s].End {
			return false
		}
	}
	return true
}

// machine is several followers on one generation, in trouble.
type machine struct {
	model   *ReadModel
	log     *sliceLog
	store   *shakyStore
	g       readstore.Generation
	readers []*reader
	struck  map[string]int
}

func newMachine(model *ReadModel, struck map[string]int) *machine {
	l := newLog(map[string]int32{"jar": 3, "cup": 2})
	m := &machine{model: model, log: l, store: newShakyStore(), g: generationFrom(model, l), struck: struck}
	if err := m.store.UpdateCatalog(context.Background(), model.Name, readstore.Catalog{Generations: map[string]readstore.Generation{m.g.ID: m.g}}); err != nil {
		panic(err)
	}
	return m
}

func (m *machine) follower(t rapid.TB, cache int, newer bool) *reader {
	f, err := NewFollower(FollowerConfig{Model: m.build(newer), Generation: m.g, Store: m.store, CacheBytes: cache})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{f: f, newer: newer, positions: map[readstore.Source]int64{}}
}

// build returns the model as one of the two builds has it.
func (m *machine) build(isNewer bool) *ReadModel {
	if isNewer {
		return newer(m.model)
	}
	return m.model
}

// redrive redrives one aggregate, of those that are parked.
func (m *machine) redrive(t *rapid.T, newer bool) {
	list, err := ListParked(t.Context(), m.store, m.model)
	if err != nil {
		m.struck["error"]++
		return
	}
	if len(list) == 0 {
		return
	}
	p := rapid.SampledFrom(list).Draw(t, "parked")
	dry := rapid.IntRange(0, 7).Draw(t, "dry run") == 0
	before := len(m.store.history)
	done, err := Redrive(t.Context(), RedriveConfig{Model: m.build(newer), Store: m.store, Events: oneBuild{m.log, newer}, Aggregate: p.Aggregate, ID: p.AggregateID, DryRun: dry})
	switch {
	case err != nil:
		m.struck["error"]++
	case newer && done[0].Left > 0:
		t.Fatalf("the newer build leaves %+v", done)
	case dry && len(m.store.history) > before:
		t.Fatalf("a dry run writes")
	case !dry && done[0].Applied > 0:
		m.struck["redriven"]++
	}
}

func (m *machine) actions() map[string]func(*rapid.T) {
	pick := func(t *rapid.T) *reader {
		if len(m.readers) == 0 {
			t.Skip("no follower")
		}
		return rapid.SampledFrom(m.readers).Draw(t, "follower")
	}
	some := func(t *rapid.T) []readstore.Source {
		all := m.log.sources()
		if rapid.Bool().Draw(t, "every source") {
			return all
		}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, len(all), rapid.ID).Draw(t, "sources")
	}
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if wrong := checkStore(m.store.Store, m.model, m.g, m.log); wrong != "" {
				t.Fatal(wrong)
			}
		},
		"append": func(t *rapid.T) {
			for range rapid.IntRange(1, 5).Draw(t, "commands") {
				s := rapid.SampledFrom(m.log.sources()).Draw(t, "source")
				var events []any
				for range rapid.IntRange(1, 4).Draw(t, "events") {
					d := Deposited{rapid.SampledFrom([]string{"ann", "bob", "cleo", "dan", "eve"}).Draw(t, "owner"), rapid.Int64Range(-9, 9).Draw(t, "coins")}
					if rapid.IntRange(0, 5).Draw(t, "late") == 0 {
						events = append(events, Late(d))
						continue
					}
					events = append(events, d)
				}
				m.log.append(s, fmt.Sprintf("%s-%d-%d", s.Aggregate, s.Partition, rapid.IntRange(1, 3).Draw(t, "aggregate")), events...)
			}
		},
		"feed": func(t *rapid.T) { m.feed(t, pick(t), some(t)) },
		"feed more": func(t *rapid.T) {
			r := pick(t)
			for range rapid.IntRange(2, 6).Draw(t, "runs") {
				m.feed(t, r, some(t))
			}
		},
		"start": func(t *rapid.T) {
			if len(m.readers) == 3 {
				t.Skip("enough followers")
			}
			r := m.follower(t, rapid.SampledFrom([]int{1, 100, 10_000}).Draw(t, "cache"), rapid.Bool().Draw(t, "newer"))
			m.readers = append(m.readers, r)
			m.assign(t, r, some(t))
		},
		"restart": func(t *rapid.T) {
			r := pick(t)
			sources := some(t)
			*r = *m.follower(t, 100, rapid.Bool().Draw(t, "newer"))
			m.assign(t, r, sources)
		},
		"assign": func(t *rapid.T) {
			m.assign(t, pick(t), some(t))
		},
		"redrive": func(t *rapid.T) {
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				m.redrive(t, rapid.IntRange(0, 3).Draw(t, "newer") > 0)
			}
		},
		"redrive while somebody writes": func(t *rapid.T) {
			r, newer := pick(t), rapid.IntRange(0, 3).Draw(t, "newer") > 0
			m.store.between = func() {
				if rapid.Bool().Draw(t, "a redrive") {
					m.redrive(t, true)
					return
				}
				m.feed(t, r, some(t))
			}
			m.redrive(t, newer)
			m.store.between = nil
		},
		"audit": func(t *rapid.T) {
			if err := pick(t).audit(); err != nil {
				m.struck["error"]++
			}
		},
		"revoke": func(t *rapid.T) {
			r, gone := pick(t), some(t)
			r.f.Revoke(gone)
			for _, s := range gone {
				delete(r.positions, s)
			}
		},
		"skip": func(t *rapid.T) { // the log jumps: a gap
			r := pick(t)
			for _, s := range some(t) {
				if left := m.log.marks[s].End - r.positions[s]; left > 1 && hasKey(r.positions, s) {
					r.positions[s] += rapid.Int64Range(1, left-1).Draw(t, "offsets")
					m.struck["skip"]++
				}
			}
		},
		"roll back": func(t *rapid.T) {
			n := 0
			if !rapid.Bool().Draw(t, "wipe") {
				n = rapid.IntRange(0, len(m.store.history)).Draw(t, "writes kept")
			}
			if n < len(m.store.history) {
				m.struck["roll back"]++
			}
			m.store.rollBack(n)
		},
		"fail": func(t *rapid.T) {
			switch rapid.IntRange(0, 3).Draw(t, "how") {
			case 0:
				m.store.failLoad = true
			case 1:
				m.store.failBefore = true
			case 2:
				m.store.failAfter = true
			case 3:
				m.store.failBucket = true
			}
		},
	}
}

// assign tries twice: one load may fail.
func (m *machine) assign(t *rapid.T, r *reader, sources []readstore.Source) {
	if r.assign(sources) == nil {
		return
	}
	m.struck["error"]++
	if err := r.assign(sources); err != nil {
		t.Fatal(err)
	}
}

// feed offers a run; of an error it makes what a caller may make of it.
func (m *machine) feed(t *rapid.T, r *reader, only []readstore.Source) {
	n := rapid.IntRange(1, 6).Draw(t, "run")
	for err := r.step(m.log, only, n); err != nil; err = r.step(m.log, only, n) {
		m.struck["error"]++
		if rapid.Bool().Draw(t, "assign again") {
			m.assign(t, r, keysOf(r.positions))
		}
	}
	m.struck["fed"]++
}

func hasKey(positions map[readstore.Source]int64, s readstore.Source) bool {
	_, ok := positions[s]
	return ok
}

func keysOf(positions map[readstore.Source]int64) []readstore.Source {
	var list []readstore.Source
	for s := range positions {
		list = append(list, s)
	}
	return list
}

// finish feeds everything to everybody: the log is quiet now, so what is not asked for again is lost.
func (m *machine) finish(t *rapid.T) {
	m.store.failLoad, m.store.failBefore, m.store.failAfter, m.store.failBucket = false, false, false, false
	last := m.follower(t, 10_000, false)
	if err := last.assign(m.log.sources()); err != nil {
		t.Fatal(err)
	}
	runs := 0
	for _, r := range append(m.readers, last) {
		for !r.atEnd(m.log) {
			if err := r.step(m.log, m.log.sources(), 4); err != nil {
				t.Fatal(err)
			}
			if runs++; runs > 2000 {
				t.Fatalf("no end: positions %v, marks %v", r.positions, m.log.marks)
			}
		}
	}
	if wrong := checkStore(m.store.Store, m.model, m.g, m.log); wrong != "" {
		t.Fatal(wrong)
	}
	if wrong := checkEnd(m.store.Store, m.model, m.g, m.log); wrong != "" {
		t.Fatal(wrong)
	}
	m.redriveAll(t)
}

// redriveAll has the newer build redrive everything: then nothing waits, and all is as if nothing ever had.
func (m *machine) redriveAll(t *rapid.T) {
	list, err := ListParked(t.Context(), m.store, m.model)
	if err != nil {
		t.Fatal(err)
	}
	// Of events that only the newer build can apply, and has applied, the older one cannot say whether that is right.
	v, err := Verify(t.Context(), RebuildConfig{Model: newer(m.model), Store: m.store, Events: m.log}, m.g.ID)
	if err != nil || !v.OK() || v.Parked != len(list) || v.Redrivable != len(list) {
		t.Fatalf("verified: %+v, %v; %d are parked", v, err, len(list))
	}
	for _, p := range list {
		if _, err := Redrive(t.Context(), RedriveConfig{Model: newer(m.model), Store: m.store, Events: oneBuild{m.log, true}, Aggregate: p.Aggregate, ID: p.AggregateID}); err != nil {
			t.Fatal(err)
		}
		m.struck["parked"]++
	}
	if list, err := ListParked(t.Context(), m.store, m.model); err != nil || len(list) > 0 {
		t.Fatalf("left parked: %+v, %v", list, err)
	}
	if wrong := checkStore(m.store.Store, m.model, m.g, m.log); wrong != "" {
		t.Fatal(wrong)
	}
}

func TestFollowersApplyEveryEventOnce(t *testing.T) {
	for _, model := range []*ReadModel{documents, operations} {
		t.Run(model.Name, func(t *testing.T) {
			struck := map[string]int{}
			rapid.Check(t, func(t *rapid.T) {
				m := newMachine(model, struck)
				t.Repeat(m.actions())
				m.finish(t)
			})
			for _, what := range []string{"fed", "roll back", "error", "skip", "parked", "redriven"} {
				if struck[what] < 20 {
					t.Errorf("%q struck %d times: the test tests too little", what, struck[what])
				}
			}
		})
	}
}

// TestOneFollowerIsEnough leaves nobody else to repair what one follower misses: whatever happened to
// it, it reads the log to its end.
func TestOneFollowerIsEnough(t *testing.T) {
	for _, model := range []*ReadModel{documents, operations} {
		t.Run(model.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newMachine(model, map[string]int{})
				r := m.follower(t, 2, false)
				if err := r.assign(m.log.sources()); err != nil {
					t.Fatal(err)
				}
				m.readers = []*reader{r}
				actions := m.actions()
				for _, name := range []string{"start", "restart", "assign", "revoke", "roll back"} {
					delete(actions, name)
				}
				t.Repeat(actions)
				m.store.failLoad, m.store.failBefore, m.store.failAfter, m.store.failBucket = false, false, false, false
				for runs := 0; !r.atEnd(m.log); runs++ {
					if err := r.step(m.log, m.log.sources(), 4); err != nil || runs > 2000 {
						t.Fatalf("after %d runs: %v", runs, err)
					}
				}
				if wrong := checkEnd(m.store.Store, m.model, m.g, m.log); wrong != "" {
					t.Fatal(wrong)
				}
			})
		})
	}
}
