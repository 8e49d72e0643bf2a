package processing

import (
	"bytes"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

// gathered returns the values of a metric by the values of its labels; of a histogram, the counts.
func gathered(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				found[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return found
}

// TestProcessorCounts has a store that loses a generation's content, and then one that breaks it.
func TestProcessorCounts(t *testing.T) {
	l, store, reg := newLog(map[string]int32{"jar": 2, "cup": 1}), memstore.New(), prometheus.NewRegistry()
	var said bytes.Buffer
	m := NewMetrics(reg)
	p, err := NewProcessor(ProcessorConfig{
		Models: []*ReadModel{documents, operations}, Store: store, Events: l, Metrics: m, Log: slog.New(slog.NewTextHandler(&said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range []*ReadModel{documents, operations} {
		g := generationFrom(model, l)
		g.CreatedAt = time.Unix(1000, 0)
		if err := store.UpdateCatalog(t.Context(), model.Name, readstore.Catalog{Active: g.ID, Generations: map[string]readstore.Generation{g.ID: g}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Assign(t.Context(), l.sources()); err != nil {
		t.Fatal(err)
	}
	positions, err := p.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when, metric string, want map[string]float64) {
		t.Helper()
		got := gathered(t, reg, metric)
		for labels, v := range want {
			if have, ok := got[labels]; !ok || have != v {
				t.Errorf("%s: %s of %q is %v, want %v; there are %v", when, metric, labels, have, v, got)
			}
		}
	}
	feed := func() {
		t.Helper()
		for range 100 {
			in := l.fetch(positions, 10)
			if len(in.Upto) == 0 {
				return
			}
			again, err := p.Apply(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(positions, in.Upto)
			maps.Copy(positions, again)
		}
		t.Fatal("it does not come to an end")
	}
	ends := func() {
		t.Helper()
		marks, _ := l.Marks(t.Context(), []string{"jar", "cup"})
		high := map[readstore.Source]int64{}
		for s, mark := range marks {
			high[s] = mark.End
		}
		m.Ends(high)
	}
	for range 4 {
		l.append(jar0, "a", Deposited{"ann", 1}, Deposited{"bob", 1})
	}
	ends()
	expect("before", "ledgerline_read_model_lag_records", map[string]float64{"jar 0 jar-content": 12, "jar 0 owners": 12, "jar 1 owners": 0, "cup 0 owners": 0})
	feed()
	expect("after", "ledgerline_read_model_lag_records", map[string]float64{"jar 0 jar-content": 0, "jar 0 owners": 0})
	expect("after", "ledgerline_events_applied_total", map[string]float64{"jar-content": 8, "owners": 8})
	expect("after", "ledgerline_apply_latency_seconds", map[string]float64{"jar-content": 8, "owners": 8})
	expect("after", "ledgerline_generations", map[string]float64{"jar-content building": 0, "jar-content ready": 1, "owners ready": 1})
	expect("after", "ledgerline_active_generation_created_timestamp_seconds", map[string]float64{"jar-content": 1000})
	expect("after", "ledgerline_rewinds_total", map[string]float64{"jar-content": 0, "owners": 0})
	expect("after", "ledgerline_checkpoint_conflicts_total", map[string]float64{"jar-content": 0, "owners": 0})

	if err := store.Drop(t.Context(), generationFrom(operations, l)); err != nil {
		t.Fatal(err)
	}
	l.append(jar0, "a", Deposited{"ann", 1})
	feed()
	expect("lost", "ledgerline_events_applied_total", map[string]float64{"jar-content": 9, "owners": 17})
	expect("lost", "ledgerline_checkpoint_conflicts_total", map[string]float64{"jar-content": 0, "owners": float64(operations.Buckets(2))})
	expect("lost", "ledgerline_rewinds_total", map[string]float64{"jar-content": 0, "owners": float64(operations.Buckets(2))})
	if n := strings.Count(said.String(), "the store has lost what was written to it"); n != 1 || !strings.Contains(said.String(), "projection=owners") {
		t.Errorf("it said %d times that the store has lost something, want once:\n%s", n, said.String())
	}
	mustHold(t, store, operations, l)

	p.Revoke([]readstore.Source{jar0})
	ends()
	if got := gathered(t, reg, "ledgerline_read_model_lag_records"); len(got) != 3 { // jar 1 of both, cup 0 of owners
		t.Errorf("of sources that are left: %v", got)
	}
}

// TestReadModelLagGrows has a model that stands still.
func TestReadModelLagGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := NewMetrics(reg)
		key := lagKey{"owners", jar0}
		age := func(want float64) {
			t.Helper()
			if got := gathered(t, reg, "ledgerline_read_model_lag_seconds"); got["jar 0 owners"] != want || len(got) != 1 {
				t.Errorf("its oldest event is %v s old, want %v", got, want)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) }
		m.lag.set(true, map[lagKey]int64{key: 5}, nil)
		m.Ends(map[readstore.Source]int64{jar0: 5})
		pass(time.Hour)
		m.Ends(map[readstore.Source]int64{jar0: 5}) // it has all of a quiet log
		pass(2 * time.Second)
		m.Ends(map[readstore.Source]int64{jar0: 9})
		pass(8 * time.Second)
		age(10)
		m.lag.set(false, map[lagKey]int64{key: 5}, map[readstore.Source]time.Time{jar0: time.Now()}) // read, not applied
		age(10)
		m.lag.set(false, map[lagKey]int64{key: 7}, map[readstore.Source]time.Time{jar0: time.Now().Add(-3 * time.Second)})
		age(3)
		m.lag.set(false, map[lagKey]int64{key: 9}, map[readstore.Source]time.Time{jar0: time.Now()})
		age(0)
	})
}
