package processing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// clock is a hand-set clock.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// fill appends n commands of two events, spread over all sources.
func fill(l *sliceLog, n int) {
	sources := l.sources()
	for i := range n {
		s := sources[i%len(sources)]
		l.append(s, fmt.Sprintf("%s-%d-%d", s.Aggregate, s.Partition, i%7),
			Deposited{fmt.Sprintf("owner-%d", i%5), int64(i)}, Deposited{fmt.Sprintf("owner-%d", i%3), -1})
	}
}

// rebuildOf is the configuration of a rebuild, with a store and a log of its own.
func rebuildOf(m *ReadModel, commands int) (RebuildConfig, *shakyStore, *sliceLog, *clock) {
	l, store, c := newLog(map[string]int32{"jar": 3, "cup": 2}), newShakyStore(), &clock{noon}
	fill(l, commands)
	return RebuildConfig{Model: m, Store: store, Events: l, Owner: "tester", Now: c.Now}, store, l, c
}

// mustHoldAll checks a generation against the log up to its end.
func mustHoldAll(t *testing.T, cfg RebuildConfig, g readstore.Generation, l *sliceLog) {
	t.Helper()
	if wrong := checkStore(cfg.Store, cfg.Model, g, l); wrong != "" {
		t.Error(wrong)
	}
	if wrong := checkEnd(cfg.Store, cfg.Model, g, l); wrong != "" {
		t.Error(wrong)
	}
}

func catalogOf(t *testing.T, cfg RebuildConfig) readstore.Catalog {
	t.Helper()
	c, err := cfg.Store.Catalog(context.Background(), cfg.Model.Name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bothModels(t *testing.T, test func(t *testing.T, m *ReadModel)) {
	for _, m := range []*ReadModel{documents, operations} {
		t.Run(m.Name, func(t *testing.T) { test(t, m) })
	}
}

func TestBuild(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, c := rebuildOf(m, 400)
		l.batch = 7
		deliveries := 0
		l.before = func(l *sliceLog) { // the log grows while it is read
			c.now = c.now.Add(100 * time.Millisecond)
			if deliveries++; deliveries <= 20 {
				fill(l, 5)
			}
		}
		var progress []Progress
		cfg.Progress = func(p Progress) { progress = append(progress, p) }
		g, err := Build(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		// The last it saw was appended while it read: within a batch of the end, the followers go on.
		if wrong := checkStore(cfg.Store, m, g, l); wrong != "" {
			t.Error(wrong)
		}
		if behind, err := Lag(t.Context(), cfg, g); err != nil || behind > 1000 {
			t.Errorf("%d offsets behind, %v", behind, err)
		}
		if g.State != readstore.Ready || g.Builder != "" || !g.LeaseUntil.IsZero() || !g.ReadyAt.Equal(c.now) || !g.VerifiedAt.IsZero() ||
			g.ClusterID != "cluster" || g.TopicIDs["jar"] != "topic-of-jar" || g.Buckets != m.Buckets(3) || g.CodeVersion != 1 || g.Model != m.Name {
			t.Errorf("built %+v", g)
		}
		if catalog := catalogOf(t, cfg); catalog.Active != "" || catalog.Generations[g.ID].State != readstore.Ready {
			t.Errorf("catalog %+v", catalog)
		}
		last := progress[len(progress)-1]
		if len(progress) < 3 || last.Generation != g.ID || last.Events < last.Total/2 || last.Rate <= 0 {
			t.Errorf("%d reports, the last one %+v", len(progress), last)
		}
	})
}

func TestBuildOfAnEmptyLog(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, _ := rebuildOf(m, 0)
		g, err := Build(t.Context(), cfg)
		if err != nil || g.State != readstore.Ready {
			t.Fatalf("%+v, %v", g, err)
		}
		if v, err := Verify(t.Context(), cfg, g.ID); err != nil || !v.OK() || v.Keys != 0 {
			t.Errorf("verification %+v, %v", v, err)
		}
		mustHoldAll(t, cfg, g, l)
	})
}

func TestBuildGoesOnWhereADeadBuilderStopped(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, c := rebuildOf(m, 500)
		ctx, die := context.WithCancel(t.Context())
		l.before = func(l *sliceLog) {
			if l.delivered > l.total(m)*3/4 {
				die()
			}
		}
		dead, err := Build(ctx, cfg)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the builder did not die: %v", err)
		}
		l.before = nil
		if _, err := Build(t.Context(), cfg); !errors.Is(err, ErrBeingBuilt) || !strings.Contains(err.Error(), "tester") {
			t.Errorf("while the lease holds: %v", err)
		}
		if at := catalogOf(t, cfg).Generations[dead.ID]; at.State != readstore.Building {
			t.Errorf("a generation half built is %s", at.State)
		}
		c.now = c.now.Add(Lease + time.Second)
		g, err := Build(t.Context(), cfg)
		if err != nil || g.ID != dead.ID {
			t.Fatalf("built %s after %s: %v", g.ID, dead.ID, err)
		}
		mustHoldAll(t, cfg, g, l)
		if slack := l.batch * len(l.sources()); l.delivered > l.total(m)+slack {
			t.Errorf("%d events read to build %d", l.delivered, l.total(m))
		}
	})
}

func TestBuildThatIsTakenOverStops(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, c := rebuildOf(m, 500)
		var second readstore.Generation
		var secondErr error
		late := 0
		l.before = func(l *sliceLog) {
			if l.delivered > l.total(m)/2 {
				l.before = nil
				c.now = c.now.Add(Lease + time.Second) // the first one was held up for long
				second, secondErr = Build(t.Context(), cfg)
				l.before = func(*sliceLog) { late++ }
			}
		}
		first, err := Build(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "taken over") {
			t.Errorf("the first builder: %v", err)
		}
		if late > 0 {
			t.Errorf("the first builder read on, %d runs", late)
		}
		if secondErr != nil || second.ID != first.ID || catalogOf(t, cfg).Generations[first.ID].State != readstore.Ready ||
			!catalogOf(t, cfg).Generations[first.ID].LeaseUntil.IsZero() {
			t.Errorf("the second builder built %s after %s: %v", second.ID, first.ID, secondErr)
		}
		mustHoldAll(t, cfg, second, l)
	})
}

func TestBuildKeepsItsLease(t *testing.T) {
	cfg, _, l, c := rebuildOf(documents, 500)
	tried := 0
	l.before = func(l *sliceLog) {
		c.now = c.now.Add(Lease / 4)
		if l.delivered > 0 {
			tried++
			if _, err := claim(t.Context(), &cfg, always); !errors.Is(err, ErrBeingBuilt) {
				t.Errorf("claimed from a builder at work: %v", err)
			}
		}
	}
	if _, err := Build(t.Context(), cfg); err != nil || tried < 10 {
		t.Errorf("%v, %d tries", err, tried)
	}
}

func TestBuildOfAnotherCodeVersionOrLogBeginsAnew(t *testing.T) {
	cfg, _, l, c := rebuildOf(documents, 20)
	ctx, die := context.WithCancel(t.Context())
	die()
	half := func() readstore.Generation {
		g, err := Build(ctx, cfg)
		if err == nil {
			t.Fatal("built without a context")
		}
		return g
	}
	// With its context ended, a memstore refuses even the claim: make it by hand.
	if g := half(); g.ID != "" && catalogOf(t, cfg).Generations[g.ID].ID != "" {
		t.Fatalf("claimed %+v", g)
	}
	old, err := claim(t.Context(), &cfg, always)
	if err != nil {
		t.Fatal(err)
	}
	raised := *documents
	raised.CodeVersion = 2
	next := cfg
	next.Model = &raised
	if g, err := Build(t.Context(), next); err != nil || g.ID == old.ID || g.CodeVersion != 2 {
		t.Errorf("code version 2 beside a build of 1: %+v, %v", g, err)
	}
	c.now = c.now.Add(Lease + time.Second)
	l.identity.TopicIDs = map[string]string{"jar": "recreated", "cup": "recreated"}
	if g, err := Build(t.Context(), cfg); err != nil || g.ID == old.ID || g.TopicIDs["jar"] != "recreated" {
		t.Errorf("a recreated topic goes into %+v, %v", g, err)
	}
}

func TestLogWithoutItsBeginningIsRefused(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, _ := rebuildOf(m, 20)
		g, err := Build(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.marks[jar1] = Mark{Start: 3, End: l.marks[jar1].End}
		_, buildErr := Build(t.Context(), cfg)
		_, verifyErr := Verify(t.Context(), cfg, g.ID)
		_, promoteErr := Promote(t.Context(), cfg, g.ID, true, 0)
		for what, err := range map[string]error{"build": buildErr, "verify": verifyErr, "promote": promoteErr} {
			if err == nil || !strings.Contains(err.Error(), "jar/1 begins at 3") || !strings.Contains(err.Error(), "retention.ms=-1") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := len(catalogOf(t, cfg).Generations); n != 1 {
			t.Errorf("%d generations", n)
		}
	})
}

// quietLog ends its reads early and says nothing.
type quietLog struct{ *sliceLog }

func (l quietLog) Read(ctx context.Context, from map[readstore.Source]int64, visit func(Fetched) (map[readstore.Source]int64, error)) error {
	_, err := visit(l.fetch(from, 1))
	return err
}

func TestReadThatEndsEarlyIsNoEnd(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, c := rebuildOf(m, 50)
		cfg.Events = quietLog{l}
		g, err := Build(t.Context(), cfg)
		if err == nil || catalogOf(t, cfg).Generations[g.ID].State != readstore.Building {
			t.Errorf("ready after one event: %v", err)
		}
		cfg.Events = l
		c.now = c.now.Add(Lease + time.Second)
		if g, err = Build(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Events = quietLog{l}
		if _, err := Verify(t.Context(), cfg, g.ID); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("verified after one event: %v", err)
		}
	})
}

func TestBrokenBuildIsNotTakenUpAgain(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, store, l, _ := rebuildOf(m, 100)
		l.before = func(l *sliceLog) {
			if l.delivered > 0 {
				l.before = nil
				store.failBucket = true
			}
		}
		broken, err := Build(t.Context(), cfg)
		if !errors.Is(err, readstore.ErrBroken) {
			t.Fatal(err)
		}
		if at := catalogOf(t, cfg).Generations[broken.ID].State; at != readstore.Retired {
			t.Errorf("a broken generation is %s", at)
		}
		g, err := Build(t.Context(), cfg) // at once: there is no lease to wait for
		if err != nil || g.ID == broken.ID {
			t.Fatalf("built %s after %s: %v", g.ID, broken.ID, err)
		}
		mustHoldAll(t, cfg, g, l)
	})
}

// TestBuildSurvivesAFallingStore rolls the store back in the middle: nothing may be missing at the end.
func TestBuildSurvivesAFallingStore(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, store, l, _ := rebuildOf(m, 300)
		falls := 0
		l.before = func(l *sliceLog) {
			if l.delivered > l.total(m)/2*(falls+1) && falls < 3 {
				falls++
				store.rollBack(len(store.history) / (falls + 1))
			}
		}
		g, err := Build(t.Context(), cfg)
		if err != nil || falls == 0 {
			t.Fatalf("%v after %d falls", err, falls)
		}
		mustHoldAll(t, cfg, g, l)
	})
}

// TestBuildReadsAgainWhatFellAtTheEnd: the store falls back to nothing ahead of the last run.
func TestBuildReadsAgainWhatFellAtTheEnd(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, store, l, c := rebuildOf(m, 50)
		ctx, die := context.WithCancel(t.Context())
		l.before = func(l *sliceLog) {
			if l.delivered > 0 {
				die()
			}
		}
		if _, err := Build(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		c.now = c.now.Add(Lease + time.Second)
		l.batch = 1000
		l.before = func(l *sliceLog) {
			l.before = nil
			store.rollBack(0)
		}
		g, err := Build(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		mustHoldAll(t, cfg, g, l)
	})
}
