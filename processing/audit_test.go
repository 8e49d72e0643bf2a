package processing

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// TestLossIsFoundWhileNothingHappens: no event comes that would be refused.
func TestLossIsFoundWhileNothingHappens(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		synctest.Test(t, func(t *testing.T) {
			cfg, store, l, _ := rebuildOf(m, 30)
			ctx, cancel := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer cancel()
			g := generationFrom(m, l)
			err := UpdateCatalog(ctx, store, m.Name, func(c *readstore.Catalog) error {
				c.Generations[g.ID] = g
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			go process(ctx, t, []*ReadModel{m}, store, l)
			for _, kept := range []int{0, 5, 1} {
				<-time.After(10 * time.Second)
				synctest.Wait()
				mustHoldAll(t, cfg, g, l)
				store.rollBack(min(kept, len(store.history)))
			}
			<-time.After(10 * time.Second)
			synctest.Wait()
			mustHoldAll(t, cfg, g, l)
		})
	})
}

// TestAudit: what another one wrote first is found as well, and nothing if nothing moved.
func TestAudit(t *testing.T) {
	for _, m := range []*ReadModel{documents, operations} {
		l, store := newLog(map[string]int32{"jar": 1, "cup": 1}), newShakyStore()
		fill(l, 20)
		r, other := follow(t, m, l, store), follow(t, m, l, store)
		for _, one := range []struct {
			what    string
			change  func()
			rewinds bool
		}{
			{"nothing", func() {}, false},
			{"another one wrote", func() { feedAll(t, other, l) }, true},
			{"nothing again", func() {}, false},
			{"the last write is lost", func() { store.rollBack(len(store.history) - 1) }, true},
		} {
			one.change()
			before := maps.Clone(r.positions)
			if err := r.audit(); err != nil {
				t.Fatal(err)
			}
			if moved := !maps.Equal(before, r.positions); moved != one.rewinds {
				t.Errorf("%s, %s: positions were %v, are %v", m.Name, one.what, before, r.positions)
			}
		}
		feedAll(t, r, l)
		mustHold(t, store, m, l)
	}
}
