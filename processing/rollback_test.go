package processing

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

func TestRollback(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		if _, err := Rollback(ctx, cfg, 0); err == nil || !strings.Contains(err.Error(), "no standby generation") {
			t.Errorf("without generations: %v", err)
		}
		first, second := mustBuild(t, cfg), mustBuild(t, cfg)
		for _, g := range []readstore.Generation{first, second} {
			if _, err := Promote(ctx, cfg, g.ID, true, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []readstore.Generation{first, second} {
			if g, err := Rollback(ctx, cfg, 0); err != nil || g.ID != want.ID {
				t.Fatalf("rolled back to %s, %v; want %s", g.ID, err, want.ID)
			}
			other := first.ID
			if want.ID == first.ID {
				other = second.ID
			}
			if c := catalogOf(t, cfg); c.Active != want.ID || c.Standby != other {
				t.Errorf("active %s, standby %s; want %s, %s", c.Active, c.Standby, want.ID, other)
			}
		}

		// Nobody keeps the standby up to date: going back would show the past.
		fill(l, 5)
		if _, err := Rollback(ctx, cfg, 2*time.Second); err == nil || !strings.Contains(err.Error(), "offsets behind") {
			t.Errorf("behind: %v", err)
		}
		if c := catalogOf(t, cfg); c.Active != second.ID {
			t.Errorf("a refused rollback moved the pointer to %s", c.Active)
		}
		go process(ctx, t, []*ReadModel{cfg.Model}, cfg.Store, l)
		if g, err := Rollback(ctx, cfg, 10*time.Second); err != nil || g.ID != first.ID {
			t.Errorf("with a processor: %s, %v", g.ID, err)
		}
		mustHoldAll(t, cfg, first, l)
	})
}

func TestPrune(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		oldest, standby, active := mustBuild(t, cfg), mustBuild(t, cfg), mustBuild(t, cfg)
		for _, g := range []readstore.Generation{standby, active} {
			if _, err := Promote(ctx, cfg, g.ID, true, 0); err != nil {
				t.Fatal(err)
			}
		}
		list, err := Prunable(ctx, cfg)
		if err != nil || len(list) != 1 || list[0].ID != oldest.ID {
			t.Fatalf("prunable: %+v, %v", list, err)
		}
		for _, id := range []string{active.ID, standby.ID, "g9"} {
			if err := Prune(ctx, cfg, id, 0); err == nil {
				t.Errorf("%s was pruned", id)
			}
		}
		began := time.Now()
		if err := Prune(ctx, cfg, oldest.ID, 3*time.Second); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		for n := range oldest.Buckets {
			content, err := cfg.Store.Inspect(ctx, readstore.Bucket{Model: cfg.Model.Name, Generation: oldest.ID, Number: n})
			if err != nil || len(content.Documents)+len(content.Sums)+len(content.Entries)+len(content.Checkpoints) > 0 {
				t.Errorf("bucket %d is left: %+v, %v", n, content, err)
			}
		}
		if ids := slices.Sorted(maps.Keys(catalogOf(t, cfg).Generations)); slices.Contains(ids, oldest.ID) || len(ids) != 2 {
			t.Errorf("generations: %v", ids)
		}
		mustHoldAll(t, cfg, active, l)
		mustHoldAll(t, cfg, standby, l)
	})
}

// TestPruneLetsBuildersFinish: one that builds is left alone while it holds its lease, and cannot bring
// back what was pruned after it fell silent.
func TestPruneLetsBuildersFinish(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, _ *sliceLog) {
		g, err := claim(ctx, &cfg, always)
		if err != nil {
			t.Fatal(err)
		}
		if err := Prune(ctx, cfg, g.ID, 0); err == nil {
			t.Error("a generation was pruned under its builder")
		}
		pass(Lease + time.Second)
		if err := Prune(ctx, cfg, g.ID, 0); err != nil {
			t.Errorf("after the lease: %v", err)
		}
		b := &build{cfg: &cfg, g: g}
		if err := b.renew(ctx, time.Now()); err == nil {
			t.Error("a silent builder renewed its lease on a pruned generation")
		}
	})
}

func TestPlaceRoundTrip(t *testing.T) {
	for _, p := range []Place{{0, 0}, {3, 1207}, {11, 1 << 40}} {
		if back, err := ParsePlace(p.String()); err != nil || back != p {
			t.Errorf("%s: %v, %v", p, back, err)
		}
	}
	for _, text := range []string{"", "3", "3@", "@5", "-1@5", "3@-5", "3@5@6", "a@b"} {
		if p, err := ParsePlace(text); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
}
