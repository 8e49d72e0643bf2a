package kafka

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ledgerline/ledgerline/readstore"
)

// snapshotMetrics count what is done about the states of aggregates.
type snapshotMetrics struct {
	writes *prometheus.CounterVec // result
	write  prometheus.Histogram   // seconds
	saved  prometheus.Counter     // states
	loads  *prometheus.CounterVec // result
	held   prometheus.Gauge       // partitions
	memory *prometheus.GaugeVec   // kind
}

const (
	resultRefusedSnapshot = "refused"
	resultBroken          = "broken"
	resultFound           = "found"
	resultNone            = "none"

	kindChanged = "changed"
	kindCached  = "cached"
)

func newSnapshotMetrics() snapshotMetrics {
	return snapshotMetrics{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_snapshots_total",
			Help: "Snapshots of partitions written: committed, refused (the store holds another one than expected), broken or unknown (no answer).",
		}, []string{"result"}),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledgerline_snapshot_duration_seconds", Help: "The writing of a snapshot, beside the write loop.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		saved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledgerline_snapshot_states_total", Help: "States of aggregates written to snapshots.",
		}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_states_loaded_total", Help: "States of aggregates asked of snapshots since they were not at hand: found, or none (the aggregate is new).",
		}, []string{"result"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ledgerline_partitions_held", Help: "Partitions of commands that wait for the store of snapshots; the others go on.",
		}),
		memory: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ledgerline_state_memory_bytes", Help: "Estimated memory of the states held: changed since the last snapshot, or cached. No command is decided while those changed exceed the limit.",
		}, []string{"kind"}),
	}
}

func (m *snapshotMetrics) start(reg prometheus.Registerer) {
	if reg != nil {
		reg.MustRegister(m.writes, m.write, m.saved, m.loads, m.held, m.memory)
	}
	for _, result := range []string{resultCommitted, resultRefusedSnapshot, resultBroken, resultUnknown} {
		m.writes.WithLabelValues(result)
	}
	for _, result := range []string{resultFound, resultNone} {
		m.loads.WithLabelValues(result)
	}
	for _, kind := range []string{kindChanged, kindCached} {
		m.memory.WithLabelValues(kind)
	}
}

// loaded counts states that were asked for.
func (m *Metrics) loaded(asked, found int) {
	m.snapshots.loads.WithLabelValues(resultFound).Add(float64(found))
	m.snapshots.loads.WithLabelValues(resultNone).Add(float64(asked - found))
}

// saved counts a write of n states by whether it was answered, and what the answer meant.
func (m *Metrics) saved(took time.Duration, n int, unanswered, meant error) {
	result := resultCommitted
	switch {
	case unanswered != nil:
		result = resultUnknown
	case errors.Is(meant, readstore.ErrBroken):
		result = resultBroken
	case meant != nil:
		result = resultRefusedSnapshot
	default:
		m.snapshots.saved.Add(float64(n))
	}
	m.snapshots.writes.WithLabelValues(result).Inc()
	m.snapshots.write.Observe(took.Seconds())
}

// stateShares is one session's part of the gauges that all workers of a process share.
type stateShares struct {
	m    *snapshotMetrics
	told [3]float64
}

func (m *Metrics) stateShares() stateShares { return stateShares{m: &m.snapshots} }

func (s *stateShares) set(held int, changed, cached int64) {
	now := [3]float64{float64(held), float64(changed), float64(cached)}
	for i, g := range []prometheus.Gauge{s.m.held, s.m.memory.WithLabelValues(kindChanged), s.m.memory.WithLabelValues(kindCached)} {
		g.Add(now[i] - s.told[i])
	}
	s.told = now
}
