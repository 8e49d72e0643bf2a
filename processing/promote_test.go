package processing

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// process runs a processor over every source of l until ctx ends. It asks for generations and events
// every 50 ms, like a consumer.
func process(ctx context.Context, t *testing.T, models []*ReadModel, store readstore.Store, l *sliceLog) {
	p, err := NewProcessor(ProcessorConfig{Models: models, Store: store, Events: l})
	if err != nil {
		t.Error(err)
		return
	}
	defer p.Close()
	positions, err := p.Assign(ctx, l.sources())
	for ctx.Err() == nil {
		var rewind map[readstore.Source]int64
		if err == nil {
			rewind, err = p.Refresh(ctx)
			maps.Copy(positions, rewind)
		}
		if in := l.fetch(positions, 20); err == nil && len(in.Upto) > 0 {
			rewind, err = p.Apply(ctx, in)
			maps.Copy(positions, in.Upto)
			maps.Copy(positions, rewind)
		}
		if err != nil {
			positions, err = p.Assign(ctx, l.sources())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// inBubble runs test where time is simulated, with a context that ends with the test.
func inBubble(t *testing.T, test func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog)) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		synctest.Test(t, func(t *testing.T) {
			cfg, _, l, _ := rebuildOf(m, 30)
			cfg.Now = time.Now
			ctx, cancel := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer cancel()
			test(t, ctx, cfg, l)
		})
	})
}

func TestPromoteRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		refuses := func(generation string, unverified bool, wait time.Duration, want string) {
			t.Helper()
			if _, err := Promote(ctx, cfg, generation, unverified, wait); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if c := catalogOf(t, cfg); c.Active != "" {
				t.Errorf("active is %s", c.Active)
			}
		}
		refuses("g9", false, 0, "no generation")
		g := mustBuild(t, cfg)
		refuses(g.ID, false, time.Minute, "rebuild verify "+cfg.Model.Name+" "+g.ID)
		if v, err := Verify(ctx, cfg, g.ID); err != nil || !v.OK() {
			t.Fatalf("%+v, %v", v, err)
		}
		fill(l, 5)
		began := time.Now()
		refuses(g.ID, false, 3*time.Second, "offsets behind")
		if waited := time.Since(began); waited < 3*time.Second || waited > 4*time.Second {
			t.Errorf("waited %s", waited)
		}
		refuses(g.ID, true, 0, "offsets behind")
		for _, state := range []readstore.GenerationState{readstore.Building, readstore.Retired} {
			setState(t, cfg, g.ID, state)
			refuses(g.ID, true, time.Minute, string(state)+", not ready")
		}
	})
}

func TestPromoteWaitsForTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		g := mustBuild(t, cfg)
		fill(l, 50)
		go func() {
			pass(2 * time.Second) // a processor that comes late
			process(ctx, t, []*ReadModel{cfg.Model}, cfg.Store, l)
		}()
		began := time.Now()
		promoted, err := Promote(ctx, cfg, g.ID, true, 10*time.Second)
		if err != nil || promoted.PromotedAt.IsZero() || time.Since(began) < 2*time.Second {
			t.Errorf("%+v, %v, after %s", promoted, err, time.Since(began))
		}
		mustHoldAll(t, cfg, g, l)
	})
}

func TestPromoteMovesThePointer(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, _ *sliceLog) {
		first, second := mustBuild(t, cfg), mustBuild(t, cfg)
		for i, step := range []struct{ promote, active, standby string }{
			{first.ID, first.ID, ""},
			{first.ID, first.ID, ""},
			{second.ID, second.ID, first.ID},
			{second.ID, second.ID, first.ID},
			{first.ID, first.ID, second.ID},
		} {
			if _, err := Promote(ctx, cfg, step.promote, true, 0); err != nil {
				t.Fatal(err)
			}
			if c := catalogOf(t, cfg); c.Active != step.active || c.Standby != step.standby {
				t.Errorf("step %d: active %s, standby %s; want %+v", i, c.Active, c.Standby, step)
			}
		}
	})
}

// pass lets simulated time pass.
func pass(d time.Duration) { <-time.After(d) }

func keepOn(ctx context.Context, t *testing.T, cfg RebuildConfig) {
	if err := Keep(ctx, cfg); err != nil {
		t.Error(err)
	}
}

// active waits up to a minute for an active ready generation other than not.
func active(t *testing.T, cfg RebuildConfig, not string) readstore.Generation {
	t.Helper()
	for range 600 {
		pass(100 * time.Millisecond)
		if g, ok := catalogOf(t, cfg).ActiveGeneration(); ok && g.ID != not && g.State == readstore.Ready {
			return g
		}
	}
	t.Fatalf("no active generation: %+v", catalogOf(t, cfg))
	return readstore.Generation{}
}

func TestKeep(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		go process(ctx, t, []*ReadModel{cfg.Model}, cfg.Store, l)
		for range 2 {
			go keepOn(ctx, t, cfg)
		}
		first := active(t, cfg, "")
		if !first.VerifiedAt.IsZero() {
			t.Error("what was never verified says that it was")
		}
		fill(l, 100)
		pass(10 * time.Second)
		mustHoldAll(t, cfg, first, l)
		if n := len(catalogOf(t, cfg).Generations); n > 2 {
			t.Errorf("%d generations", n)
		}

		// Broken, and so retired. What else is ready may be promoted, else one is built.
		setState(t, cfg, first.ID, readstore.Retired)
		second := active(t, cfg, first.ID)
		fill(l, 20)
		pass(10 * time.Second)
		mustHoldAll(t, cfg, second, l)

		// Wiped.
		for _, g := range catalogOf(t, cfg).Generations {
			if err := cfg.Store.Drop(ctx, g); err != nil {
				t.Fatal(err)
			}
		}
		wiped := readstore.Catalog{Revision: catalogOf(t, cfg).Revision}
		if err := cfg.Store.UpdateCatalog(ctx, cfg.Model.Name, wiped); err != nil {
			t.Fatal(err)
		}
		third := active(t, cfg, "")
		pass(10 * time.Second)
		mustHoldAll(t, cfg, third, l)
		if third.ID == first.ID || third.ID == second.ID {
			t.Errorf("generation %s came back", third.ID)
		}
	})
}

func TestKeepLeavesAnotherCodeVersionAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, _ *sliceLog) {
		g := mustBuild(t, cfg)
		if _, err := Promote(ctx, cfg, g.ID, true, 0); err != nil {
			t.Fatal(err)
		}
		spare := mustBuild(t, cfg) // ready too, and of the old code version
		next := cfg
		raised := *cfg.Model
		raised.CodeVersion = 2
		next.Model = &raised
		go keepOn(ctx, t, next)
		pass(time.Minute)
		if c := catalogOf(t, cfg); len(c.Generations) != 2 || c.Active != g.ID {
			t.Errorf("beside an unbroken active generation: %+v", c)
		}
		setState(t, cfg, g.ID, readstore.Retired)
		if now := active(t, next, g.ID); now.CodeVersion != 2 || now.ID == spare.ID {
			t.Errorf("promoted %+v", now)
		}
	})
}

// TestBrokenGenerationIsReplaced breaks a write half-way while a processor follows.
func TestBrokenGenerationIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		go process(ctx, t, []*ReadModel{cfg.Model}, cfg.Store, l)
		go keepOn(ctx, t, cfg)
		first := active(t, cfg, "")
		cfg.Store.(*shakyStore).breakNext()
		fill(l, 10)
		second := active(t, cfg, first.ID)
		pass(10 * time.Second)
		mustHoldAll(t, cfg, second, l)
		if at := catalogOf(t, cfg).Generations[first.ID].State; at != readstore.Retired {
			t.Errorf("the broken generation is %s", at)
		}
	})
}

// TestKeepPassesABrokenReadyGeneration: one that is ready, broken and followed by nobody must not
// stand in the way of another one for ever.
func TestKeepPassesABrokenReadyGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		g := mustBuild(t, cfg)
		cfg.Store = &brokenStore{shakyStore: cfg.Store.(*shakyStore), broken: g.ID}
		go keepOn(ctx, t, cfg)
		if now := active(t, cfg, ""); now.ID == g.ID {
			t.Errorf("the broken generation is active")
		}
	})
}

// brokenStore says of one generation that it is broken.
type brokenStore struct {
	*shakyStore
	broken string
}

func (s *brokenStore) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	if b.Generation == s.broken {
		return nil, nil, readstore.ErrBroken
	}
	return s.shakyStore.Load(ctx, b, ids)
}
