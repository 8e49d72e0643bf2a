package kafka

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ledgerline/ledgerline/processing"
)

// Metrics count what a process does with Kafka. docs/metrics.md lists them all.
type Metrics struct {
	commands     *prometheus.CounterVec // aggregate, result
	deadLetters  *prometheus.CounterVec // aggregate, cause
	transactions *prometheus.CounterVec // result
	transaction  prometheus.Histogram   // seconds
	batch        prometheus.Histogram   // commands
	recovery     prometheus.Histogram   // seconds
	sessions     prometheus.Counter     // ended by trouble
	finished     prometheus.Counter     // partitions in which a transaction hung
	recovered    prometheus.Counter     // events
	snapshots    snapshotMetrics
	waits        *prometheus.CounterVec // service
	floorRaised  *prometheus.CounterVec // cause
	clock        prometheus.Gauge       // seconds
	progress     *progress

	reg    prometheus.Registerer
	worker sync.Once
}

// The results of commands beside those of an outcome, and those of transactions.
const (
	resultAccepted     = "accepted"
	resultRefused      = "refused"
	resultFailed       = "failed"
	resultRepeat       = "repeat"
	resultMoved        = "moved"
	resultUnanswerable = "unanswerable"

	resultCommitted = "committed"
	resultAborted   = "aborted"
	resultUnknown   = "unknown"
	resultFenced    = "fenced"
)

// NewMetrics registers the package's metrics with reg, which must not have them yet; nil registers
// nothing, and what is counted is for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		commands: f.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_commands_total",
			Help: "Commands dealt with in a committed transaction: accepted, refused, failed, repeat (answered from the log), moved (to the partition of its key) or unanswerable (no id).",
		}, []string{"aggregate", "result"}),
		deadLetters: f.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_dead_letters_total", Help: "Commands that nobody can decode, kept as dead letters, by the code of the cause.",
		}, []string{"aggregate", "cause"}),
		transactions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_transactions_total",
			Help: "Transactions of the write loop: committed, aborted, unknown (the log is read again to find out) or fenced (another process has the slot).",
		}, []string{"result"}),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledgerline_transaction_duration_seconds", Help: "From the begin of a transaction to the answer on its end.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledgerline_transaction_commands", Help: "Commands in a transaction.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000},
		}),
		recovery: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledgerline_recovery_duration_seconds", Help: "Reading back partitions after an assignment, all that came at once.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 1800},
		}),
		sessions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledgerline_worker_sessions_ended_total", Help: "Sessions of the write loop that ended in an error; a new one begins each time.",
		}),
		finished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledgerline_hanging_transactions_finished_total", Help: "Partitions of events and outcomes in which a transaction hung that Kafka took for ended, and which the worker finished.",
		}),
		recovered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledgerline_recovered_events_total", Help: "Events read back after assignments: those behind the snapshots, or all.",
		}),
		snapshots: newSnapshotMetrics(),
		waits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_waits_total", Help: "Times that work waited and was tried again: a command for the registry, snapshots for their store, a processor for whatever it met (its log says what).",
		}, []string{"who"}),
		floorRaised: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_command_ids_floor_raised_total",
			Help: "Times that the time below which command ids are refused was raised further than to a day ago: for want of memory, or because of a gap in the log of outcomes.",
		}, []string{"cause"}),
		clock: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ledgerline_clock_ahead_seconds",
			Help: "How far the clock of the process was ahead of the brokers' when a worker last compared them; with more than 30 either way it decides nothing.",
		}),
		progress: newProgress(), reg: reg,
	}
	if reg != nil {
		reg.MustRegister(m.progress)
	}
	return m
}

// Why the floor was raised.
const (
	raisedMemory = "memory"
	raisedGap    = "gap"
)

// Who waits.
const (
	waitsCommand   = "command"
	waitsSnapshots = "snapshots"
	waitsProcessor = "processor"
)

// startWorker has what a worker counts begin at 0 rather than be missing. A process without one has none
// of it.
func (m *Metrics) startWorker(aggregates []*processing.Aggregate, snapshots bool) {
	m.worker.Do(func() {
		if m.reg != nil {
			m.reg.MustRegister(m.transaction, m.batch, m.recovery, m.sessions, m.finished, m.recovered, m.floorRaised, m.clock)
		}
		if snapshots {
			m.snapshots.start(m.reg)
			m.waits.WithLabelValues(waitsSnapshots)
		}
	})
	for _, a := range aggregates {
		for _, result := range []string{resultAccepted, resultRefused, resultFailed, resultRepeat, resultMoved, resultUnanswerable} {
			m.commands.WithLabelValues(a.Name, result)
		}
		for _, cause := range deadLetterCauses {
			m.deadLetters.WithLabelValues(a.Name, cause)
		}
	}
	for _, result := range []string{resultCommitted, resultAborted, resultUnknown, resultFenced} {
		m.transactions.WithLabelValues(result)
	}
	m.waits.WithLabelValues(waitsCommand)
	for _, cause := range []string{raisedMemory, raisedGap} {
		m.floorRaised.WithLabelValues(cause)
	}
}

// deadLetterCauses are the codes of the faults that make a dead letter.
var deadLetterCauses = []string{
	processing.CodeUndecodable, processing.CodeUnknownCommandType, processing.CodeInvalidCommand,
	processing.CodeInvalidAggregateID, processing.CodeTooLarge, processing.CodeMisplaced,
}

// errAborted says that a transaction was ended without effect.
var errAborted = errors.New("transaction aborted")

// ended counts a transaction by what commit returned.
func (m *Metrics) ended(committed bool, err error, took time.Duration) {
	result := resultUnknown
	switch {
	case err == nil && committed:
		result = resultCommitted
	case isFenced(err):
		result = resultFenced
	case errors.Is(err, errAborted):
		result = resultAborted
	}
	m.transactions.WithLabelValues(result).Inc()
	m.transaction.Observe(took.Seconds())
}

// count counts what a committed transaction did, t as it was decided.
func (m *Metrics) count(t *transaction, aggregates map[string]*processing.Aggregate) {
	counts := map[[2]string]int{}
	for tp, b := range t.batches {
		for _, d := range b.Decisions {
			counts[[2]string{aggregates[tp.topic].Name, resultOf(d)}]++
		}
	}
	for aggregate, n := range t.moved {
		counts[[2]string{aggregate, resultMoved}] += n
	}
	all := 0
	for k, n := range counts {
		all += n
		m.commands.WithLabelValues(k[0], k[1]).Add(float64(n))
	}
	m.batch.Observe(float64(all))
	for k, n := range t.letters {
		m.deadLetters.WithLabelValues(k[0], k[1]).Add(float64(n))
	}
}

// resultOf is what became of a command.
func resultOf(d *processing.Decision) string {
	switch {
	case d.Outcome == nil:
		return resultUnanswerable
	case d.Outcome.Status == processing.Failed:
		return resultFailed
	case !d.Outcome.Decision:
		return resultRepeat
	case d.Outcome.Status == processing.Refused:
		return resultRefused
	default:
		return resultAccepted
	}
}
