package processing

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ledgerline/ledgerline/readstore"
)

// Metrics count what a process does with read models. docs/metrics.md lists them all.
type Metrics struct {
	applied, ignored, conflicts, rewinds, failed, broken, built *prometheus.CounterVec   // projection
	latency, write                                              *prometheus.HistogramVec // projection
	building, progress, created                                 *prometheus.GaugeVec     // projection
	generations                                                 *prometheus.GaugeVec     // projection, state
	lag                                                         *lags
}

// NewMetrics registers the package's metrics with reg, which must not have them yet; nil registers
// nothing, and what is counted is for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	counter := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "ledgerline_" + name, Help: help}, []string{"projection"})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "ledgerline_" + name, Help: help}, []string{"projection"})
	}
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: "ledgerline_" + name, Help: help, Buckets: buckets}, []string{"projection"})
	}
	m := &Metrics{
		applied:   counter("events_applied_total", "Events folded into read models by a processor, once per generation that it follows."),
		ignored:   counter("events_ignored_total", "Events that a document had already: their version was not above its own."),
		conflicts: counter("checkpoint_conflicts_total", "Writes refused because the checkpoint in the store was not the one expected: another process writes too, or the store lost something."),
		rewinds:   counter("rewinds_total", "Buckets found behind where they were left: the store has lost what was written. They are made good from the log."),
		failed:    counter("apply_errors_total", "Writes whose outcome is not known: the store did not answer, or answered an error."),
		broken:    counter("generations_broken_total", "Generations found half-written and retired; another one is built."),
		built:     counter("build_events_total", "Events read by builds of new generations."),
		latency:   histogram("apply_latency_seconds", "From the time of an event to its being visible in the store, of live processing.", .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
		write:     histogram("apply_duration_seconds", "One round of write scripts, of all buckets that a batch of events touches.", .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15),
		building:  gauge("builds_running", "Builds of new generations that the process runs."),
		progress:  gauge("build_progress_ratio", "How far the build that the process runs, or ran last, is: 0 to 1."),
		created:   gauge("active_generation_created_timestamp_seconds", "When the generation that queries read was begun to be built; 0 for none."),
		generations: f.NewGaugeVec(prometheus.GaugeOpts{Name: "ledgerline_generations",
			Help: "Generations of a read model by state: building, ready, retired."}, []string{"projection", "state"}),
		lag: &lags{ends: map[readstore.Source]int64{}, at: map[lagKey]reached{}},
	}
	if reg != nil {
		reg.MustRegister(m.lag)
	}
	return m
}

// start has what is counted of a model begin at 0 rather than be missing.
func (m *Metrics) start(model string) {
	for _, c := range []*prometheus.CounterVec{m.applied, m.ignored, m.conflicts, m.rewinds, m.failed, m.broken, m.built} {
		c.WithLabelValues(model)
	}
	for _, h := range []*prometheus.HistogramVec{m.latency, m.write} {
		h.WithLabelValues(model)
	}
	for _, g := range []*prometheus.GaugeVec{m.building, m.progress} {
		g.WithLabelValues(model)
	}
}

// catalog tells of a model's generations.
func (m *Metrics) catalog(model string, c readstore.Catalog) {
	count := map[readstore.GenerationState]int{readstore.Building: 0, readstore.Ready: 0, readstore.Retired: 0}
	for _, g := range c.Generations {
		count[g.State]++
	}
	for state, n := range count {
		m.generations.WithLabelValues(model, string(state)).Set(float64(n))
	}
	var created float64
	if g, ok := c.ActiveGeneration(); ok {
		created = float64(g.CreatedAt.Unix())
	}
	m.created.WithLabelValues(model).Set(created)
}

var (
	lagDesc = prometheus.NewDesc("ledgerline_read_model_lag_records",
		"Offsets between the high watermark of a partition of events that the process owns and the next event that the read model needs; the most backward of its generations counts.",
		[]string{"projection", "aggregate", "partition"}, nil)
	ageDesc = prometheus.NewDesc("ledgerline_read_model_lag_seconds",
		"Upper bound of the age of the oldest event that the read model does not hold yet; 0 if it holds all.",
		[]string{"projection", "aggregate", "partition"}, nil)
)

type lagKey struct {
	model  string
	source readstore.Source
}

// reached is how far a model is: no event below next is missing, and none from before since.
type reached struct {
	next  int64
	since time.Time
}

// lags knows where the log ends and how far read models are, and tells the difference when it is
// gathered: so it goes on growing while processing is stuck.
type lags struct {
	mu   sync.Mutex
	ends map[readstore.Source]int64
	at   map[lagKey]reached
}

// Ends notes the high watermarks of partitions of events, as of now.
func (m *Metrics) Ends(ends map[readstore.Source]int64) {
	now := time.Now()
	m.lag.mu.Lock()
	defer m.lag.mu.Unlock()
	m.lag.ends = ends
	for k, r := range m.lag.at {
		if end, ok := ends[k.source]; ok && r.next >= end {
			m.lag.at[k] = reached{r.next, now}
		}
	}
}

// set replaces what is known of a model, or, with only one source's, adds to it. applied is the time
// of the last event of a source that was applied now.
func (l *lags) set(all bool, next map[lagKey]int64, applied map[readstore.Source]time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if all {
		for k := range l.at {
			if _, ok := next[k]; !ok {
				delete(l.at, k)
			}
		}
	}
	for k, n := range next {
		r, known := l.at[k]
		if !known {
			r.since = now
		}
		if at, ok := applied[k.source]; ok && n > r.next {
			r.since = at
		}
		r.next = n
		l.at[k] = r
	}
}

// Describe implements prometheus.Collector.
func (l *lags) Describe(to chan<- *prometheus.Desc) {
	to <- lagDesc
	to <- ageDesc
}

// Collect implements prometheus.Collector.
func (l *lags) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for k, r := range l.at {
		end, ok := l.ends[k.source]
		if !ok {
			continue
		}
		behind, age := max(end-r.next, 0), time.Duration(0)
		if behind > 0 {
			age = max(now.Sub(r.since), 0)
		}
		partition := strconv.Itoa(int(k.source.Partition))
		to <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(behind), k.model, k.source.Aggregate, partition)
		to <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, age.Seconds(), k.model, k.source.Aggregate, partition)
	}
}
