package processing

import (
	"context"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// TestOneFarBehindReadsByItself: fresh events reach a generation at once while another one, that nobody has
// followed for long, catches up. A consumer of this test reads 400 events of a source a second.
func TestOneFarBehindReadsByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, cfg RebuildConfig, l *sliceLog) {
		fill(l, 8000)
		l.batch = 500
		first := mustBuild(t, cfg)
		late := first
		late.ID = "late"
		err := UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
			c.Generations[late.ID] = late
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		go process(ctx, t, []*ReadModel{cfg.Model}, cfg.Store, l)
		pass(500 * time.Millisecond)
		fill(l, 5)
		pass(300 * time.Millisecond)
		mustHoldAll(t, cfg, first, l)
		pass(2 * time.Second)
		mustHoldAll(t, cfg, late, l)
		fill(l, 5)
		pass(300 * time.Millisecond)
		mustHoldAll(t, cfg, first, l)
		mustHoldAll(t, cfg, late, l)
	})
}
