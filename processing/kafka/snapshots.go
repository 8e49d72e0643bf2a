package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// SnapshotStore keeps the states of aggregates: what a [readstore.Store] does of this.
type SnapshotStore interface {
	Apply(ctx context.Context, writes []readstore.Write) ([]readstore.Result, error)
	Load(ctx context.Context, bucket readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error)
	readstore.Catalogs
}

const (
	// loadTimeout bounds what the loop waits for: partitions that need nothing of the store wait along.
	loadTimeout = time.Second
	// recoverTimeout bounds what a recovery waits for, writeTimeout what runs beside the loop.
	recoverTimeout = 15 * time.Second
	writeTimeout   = 15 * time.Second
	// firstPause is how long a store that did not answer is left alone; it doubles up to maxBackoff.
	firstPause = 100 * time.Millisecond
	// maxSnapshot is how many changed states have one written: the store serves nobody else meanwhile.
	maxSnapshot = 20_000
)

// stateKeeper keeps the states of a session's aggregates in a store, so that neither memory nor a recovery
// holds all of them. Only step calls it. Beside step runs one write at a time, whose result step takes in.
type stateKeeper struct {
	s      *session
	store  SnapshotStore // nil: all states are read back and held
	memory *processing.StateMemory
	// generations are those in use, by aggregate. They are chosen again when anything is not as expected.
	generations map[string]readstore.Generation
	// held are the partitions that wait for the store.
	held map[topicPartition]*hold
	// cause is why the store is left alone until again, nil while it answers.
	cause error
	pause time.Duration
	again time.Time

	running *runningWrite // the write under way, nil for none
	results chan writeResult
	writer  sync.WaitGroup
	shares  stateShares
}

// hold is why a partition waits.
type hold struct {
	// ids are the aggregates that the commands at its position need; nil if it is not recovered.
	ids []string
}

// runningWrite is a snapshot that is being written.
type runningWrite struct {
	tp    topicPartition
	o     *ownedPartition
	write *processing.SnapshotWrite
	began time.Time
}

type writeResult struct {
	result readstore.Result
	err    error
}

func newKeeper(s *session) *stateKeeper {
	return &stateKeeper{
		s: s, store: s.cfg.Snapshots, memory: processing.NewStateMemory(s.cfg.StateMemory), generations: map[string]readstore.Generation{},
		held: map[topicPartition]*hold{}, results: make(chan writeResult, 1), shares: s.cfg.Metrics.stateShares(),
	}
}

// close waits for the write under way, which ends with the session's context. Nobody needs to know what
// became of it: the next recovery looks.
func (k *stateKeeper) close() {
	k.writer.Wait()
	k.shares.set(0, 0, 0)
	k.s.w.stalled.Store(nil)
}

// step does what is due: takes in what was written, asks a store again that did not answer, begins a
// snapshot, and tells how it stands.
func (k *stateKeeper) step(ctx context.Context) {
	if k.store == nil {
		return
	}
	select {
	case r := <-k.results:
		k.take(ctx, r)
	default:
	}
	k.retry(ctx)
	k.begin(ctx)
	k.tell()
}

// isFull reports that nothing more must be decided before a snapshot is written.
func (k *stateKeeper) isFull() bool { return k.store != nil && k.memory.Full() }

// isHeld reports that a partition waits for the store.
func (k *stateKeeper) isHeld(tp topicPartition) bool { return k.held[tp] != nil }

// await waits a little for a snapshot to be written.
func (k *stateKeeper) await(ctx context.Context) {
	timer := time.NewTimer(pollTimeout)
	defer timer.Stop()
	select {
	case r := <-k.results:
		k.take(ctx, r)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answers reports that the store may be asked.
func (k *stateKeeper) answers() bool { return k.cause == nil || !time.Now().Before(k.again) }

// answered notes what came of asking the store; nil is an answer.
func (k *stateKeeper) answered(ctx context.Context, err error) {
	if err == nil {
		k.cause, k.pause = nil, 0
		return
	}
	if ctx.Err() != nil {
		return // it was not waited for
	}
	k.pause = min(max(2*k.pause, firstPause), maxBackoff)
	k.cause, k.again = err, time.Now().Add(k.pause)
	k.s.cfg.Metrics.waits.WithLabelValues(waitsSnapshots).Inc()
	k.s.w.often.WarnContext(ctx, "the store of snapshots does not answer, what needs it waits", "err", err)
}

// failed sorts out what went wrong with the snapshot of a partition. Unless the store did not answer,
// the partition is dropped, to be recovered from what is there. It returns err if the store did not.
func (k *stateKeeper) failed(ctx context.Context, tp topicPartition, o *ownedPartition, err error) error {
	aggregate := k.s.aggregates[tp.topic]
	switch {
	case errors.Is(err, readstore.ErrBroken):
		k.s.log.ErrorContext(ctx, "a snapshot is broken, states are read from the beginning of the log", "projection", aggregate.Snapshots().Name, "generation", o.generation.ID, "err", err)
		rctx, cancel := context.WithTimeout(ctx, loadTimeout)
		defer cancel()
		err = processing.Retire(rctx, k.store, aggregate.Snapshots().Name, o.generation.ID)
	case errors.Is(err, processing.ErrSnapshotMoved):
		k.s.log.WarnContext(ctx, "a snapshot is not where it was left, its partition is recovered", "projection", aggregate.Snapshots().Name, "generation", o.generation.ID, "topic", tp.topic, "partition", tp.partition)
		err = nil
	default:
		return err
	}
	delete(k.generations, aggregate.Name)
	k.s.drop([]topicPartition{tp})
	return err
}

// ask loads for several partitions at once, each what it needs, and returns what went wrong with some.
func (k *stateKeeper) ask(ctx context.Context, needs map[topicPartition][]string) map[topicPartition]error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	type loaded struct {
		documents   map[string]string
		checkpoints readstore.Checkpoints
		err         error
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	all := map[topicPartition]loaded{}
	for tp, ids := range needs {
		bucket := k.bucket(tp, k.s.owned[tp])
		asked.Go(func() {
			documents, checkpoints, err := k.store.Load(ctx, bucket, ids)
			mu.Lock()
			defer mu.Unlock()
			all[tp] = loaded{documents, checkpoints, err}
		})
	}
	asked.Wait()
	wrong := map[topicPartition]error{}
	for tp, l := range all {
		if l.err == nil {
			k.s.cfg.Metrics.loaded(len(needs[tp]), len(l.documents))
			l.err = k.s.owned[tp].Loaded(needs[tp], l.documents, l.checkpoints)
		}
		if l.err != nil {
			wrong[tp] = l.err
		}
	}
	return wrong
}

func (k *stateKeeper) bucket(tp topicPartition, o *ownedPartition) readstore.Bucket {
	return readstore.Bucket{Model: k.s.aggregates[tp.topic].Snapshots().Name, Generation: o.generation.ID, Number: int(tp.partition)}
}

// load has the states at hand that polled commands need. It returns the partitions that can be decided;
// the others' commands are put back.
func (k *stateKeeper) load(ctx context.Context, all []*polled) []*polled {
	if k.store == nil {
		return all
	}
	needs := map[topicPartition][]string{}
	for _, p := range all {
		if ids := p.o.Needs(p.inputs); len(ids) > 0 {
			needs[p.tp] = ids
		}
	}
	if len(needs) == 0 {
		return all
	}
	var wrong map[topicPartition]error
	if k.answers() {
		wrong = k.ask(ctx, needs)
	} else {
		wrong = map[topicPartition]error{}
		for tp := range needs {
			wrong[tp] = k.cause
		}
	}
	asked := k.answers()
	var trouble error
	ready := slices.DeleteFunc(slices.Clone(all), func(p *polled) bool {
		err, bad := wrong[p.tp]
		if bad {
			k.s.putBack(p.tp, p.records[0].Offset)
			if err = k.failed(ctx, p.tp, p.o, err); err != nil {
				trouble = err
				k.held[p.tp] = &hold{ids: needs[p.tp]}
			}
		}
		return bad
	})
	if asked {
		k.answered(ctx, trouble)
	}
	return ready
}

// retry asks a store again for what partitions wait for, and what became of writes without an answer.
func (k *stateKeeper) retry(ctx context.Context) {
	if k.cause == nil && len(k.held) == 0 || !k.answers() {
		return
	}
	needs := map[topicPartition][]string{}
	for tp, o := range k.s.owned {
		if h := k.held[tp]; h != nil {
			needs[tp] = h.ids
		} else if o.Unanswered() {
			needs[tp] = nil
		}
	}
	for tp := range k.held {
		if k.s.owned[tp] == nil {
			delete(k.held, tp) // it is recovered, or somebody else's
		}
	}
	var trouble error
	wrong := k.ask(ctx, needs)
	for tp := range needs {
		if err, bad := wrong[tp]; bad {
			if err = k.failed(ctx, tp, k.s.owned[tp], err); err != nil {
				trouble = err
			}
		} else if k.held[tp] != nil {
			delete(k.held, tp)
			k.s.tx.Client().ResumeFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
		}
	}
	if len(needs) > 0 {
		k.answered(ctx, trouble)
	}
}

// begin writes the snapshot that is most due, if one is.
func (k *stateKeeper) begin(ctx context.Context) {
	if k.running != nil || !k.answers() || ctx.Err() != nil {
		return
	}
	var due topicPartition
	most := 0
	for tp, o := range k.s.owned {
		if n := o.Unsaved(); n > most && !o.Unanswered() && k.isDue(o) {
			due, most = tp, n
		}
	}
	if most == 0 {
		return
	}
	o := k.s.owned[due]
	if o.generation.ID == "" {
		var err error
		if o.generation, err = k.choose(ctx, k.s.aggregates[due.topic]); err != nil {
			k.answered(ctx, err)
			return
		}
	}
	w := o.Snapshot(o.generation)
	if w == nil {
		return
	}
	o.written = time.Now()
	k.running = &runningWrite{tp: due, o: o, write: w, began: time.Now()}
	k.writer.Go(func() {
		wctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		result, err := k.write(wctx, w)
		k.results <- writeResult{result, err}
	})
}

func (k *stateKeeper) isDue(o *ownedPartition) bool {
	return o.Behind() >= k.s.cfg.SnapshotEvents || o.Unsaved() >= maxSnapshot || k.memory.Pressing() || time.Since(o.written) >= k.s.cfg.SnapshotInterval
}

func (k *stateKeeper) write(ctx context.Context, w *processing.SnapshotWrite) (readstore.Result, error) {
	write, err := w.Encode()
	if err != nil {
		return readstore.Result{}, err
	}
	results, err := k.store.Apply(ctx, []readstore.Write{write})
	if err != nil {
		return readstore.Result{}, fmt.Errorf("writing snapshot %s: %w", write.Bucket, err)
	}
	return results[0], nil
}

// take takes in what became of a write.
func (k *stateKeeper) take(ctx context.Context, r writeResult) {
	run := k.running
	k.running = nil
	if k.s.owned[run.tp] != run.o {
		return
	}
	err := run.o.Saved(run.write, r.result, r.err)
	k.s.cfg.Metrics.saved(time.Since(run.began), run.write.States(), r.err, err)
	if err != nil {
		err = k.failed(ctx, run.tp, run.o, err)
	}
	k.answered(ctx, errors.Join(r.err, err))
	k.memory.Trim()
}

// choose returns the generation in which an aggregate's states are kept.
func (k *stateKeeper) choose(ctx context.Context, a *processing.Aggregate) (readstore.Generation, error) {
	if g, ok := k.generations[a.Name]; ok {
		return g, nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	id, err := identity(ctx, k.s.adm, k.s.cfg.Topics, a.Name)
	if err != nil {
		return readstore.Generation{}, err
	}
	g, err := processing.ChooseSnapshots(ctx, k.store, a.Snapshots(), id, k.s.cfg.Now())
	if err == nil {
		k.generations[a.Name] = g
	}
	return g, err
}

// tell tells how it stands.
func (k *stateKeeper) tell() {
	k.shares.set(len(k.held), k.memory.Changed(), k.memory.Cached())
	goesOn := false
	for tp := range k.s.owned {
		goesOn = goesOn || k.held[tp] == nil
	}
	var err error
	switch {
	case k.memory.Full() && k.cause != nil:
		err = fmt.Errorf("no command is decided: what changed since the last snapshots fills --state-memory, and they cannot be written: %w", k.cause)
	case len(k.held) > 0 && !goesOn && k.cause != nil:
		err = fmt.Errorf("no command is decided: all %d partitions wait for snapshots: %w", len(k.held), k.cause)
	}
	if err == nil {
		k.s.w.stalled.Store(nil)
	} else {
		k.s.w.stalled.Store(&err)
	}
}
