package processing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/readstore"
)

// Fetched is a run of events as a log delivers it: each source's in order, without gaps but for what
// its transactions left.
type Fetched struct {
	Events []Event
	// From is where the run begins and Upto the next offset to read, of every source that moved.
	From, Upto map[readstore.Source]int64
}

// FollowerConfig configures a [Follower].
type FollowerConfig struct {
	Model      *ReadModel
	Generation readstore.Generation
	Store      readstore.Writer
	// CacheBytes bounds the documents of a model keyed as its events are that are held in memory between
	// runs, by the length of their JSON and ids and what each takes besides; a run adds its own to them.
	// Defaults to 64 MiB.
	CacheBytes int
	// Log is told of refused writes: give it one made by [Sparing].
	Log *slog.Logger
	// Metrics count writes. Defaults to nobody.
	Metrics *Metrics
}

// Follower folds events into one generation of one read model. It writes a bucket's changes together
// with its checkpoints, and believes the store: when a write is refused, it forgets what it knew of
// the bucket, loads the checkpoints found there and asks to read again from them. So any number of
// followers may work on one generation, and none can apply an event twice.
//
// It is not safe for concurrent use.
type Follower struct {
	cfg     FollowerConfig
	model   *ReadModel
	buckets map[int]*bucketState
	sources map[readstore.Source]bool
	ignored int64
}

// bucketState is what a follower knows of a bucket.
type bucketState struct {
	checkpoints readstore.Checkpoints
	parked      map[string]*Parked // by aggregate/id; nil if it is not known
	documents   map[string]*shown  // of a model keyed as its events are
	bytes       int                // of documents
	// confirmed is when the store last told that the checkpoints are these.
	confirmed time.Time
	// change is set once the store was found behind: what is written from there on is a history of its
	// own, which must not be mistaken for the one before.
	change string
}

// documentOverhead is about what a document in memory takes beside its text: itself, its place in the map, and
// the rounding up of what it points to.
const documentOverhead = 256

// shown is a document in memory, and about how much of that it takes.
type shown struct {
	document any
	bytes    int
}

// hold keeps a document that is in the store, or is about to be.
func (b *bucketState) hold(id string, document any, text int) {
	if old := b.documents[id]; old != nil {
		b.bytes -= old.bytes
	}
	b.documents[id] = &shown{document, len(id) + text + documentOverhead}
	b.bytes += b.documents[id].bytes
}

// drop forgets all documents.
func (b *bucketState) drop() { b.documents, b.bytes = map[string]*shown{}, 0 }

// forget drops all but what was believed of the checkpoints, which are looked at before anything is written.
func (b *bucketState) forget() {
	b.drop()
	b.parked = nil
}

// makeRoom drops documents, of the bucket that holds most first, until no more are held than may be. It is
// called between runs: all that is held then is stored. It reports whether it dropped any.
func (f *Follower) makeRoom() (dropped bool) {
	for {
		held, most := 0, &bucketState{}
		for _, b := range f.buckets {
			if b == nil {
				continue
			}
			if held += b.bytes; b.bytes > most.bytes {
				most = b
			}
		}
		if held <= f.cfg.CacheBytes {
			return dropped
		}
		most.drop()
		dropped = true
	}
}

func newChange() string { return uuid.NewString()[:8] }

// NewFollower checks the configuration. It asks nothing of the store.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	if cfg.Model == nil || cfg.Store == nil || cfg.Generation.ID == "" || cfg.Generation.Buckets < 1 {
		return nil, fmt.Errorf("follower: model, store and generation are required")
	}
	if cfg.Generation.CodeVersion != cfg.Model.CodeVersion {
		return nil, fmt.Errorf("follower: generation %s of %s is of code version %d, this binary carries %d", cfg.Generation.ID, cfg.Model.Name, cfg.Generation.CodeVersion, cfg.Model.CodeVersion)
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 64 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	cfg.Metrics.start(cfg.Model.Name)
	return &Follower{cfg: cfg, model: cfg.Model, buckets: map[int]*bucketState{}, sources: map[readstore.Source]bool{}}, nil
}

// Model returns the read model that the follower builds, and Generation the generation.
func (f *Follower) Model() *ReadModel { return f.model }

// Generation returns the generation that the follower writes.
func (f *Follower) Generation() readstore.Generation { return f.cfg.Generation }

// Ignored returns how many events were not applied because the document already had them.
func (f *Follower) Ignored() int64 { return f.ignored }

func (f *Follower) bucket(n int) readstore.Bucket {
	return readstore.Bucket{Model: f.model.Name, Generation: f.cfg.Generation.ID, Number: n}
}

// bucketsOf returns the numbers of the buckets that a source's events may change.
func (f *Follower) bucketsOf(s readstore.Source) []int {
	if f.model.KeyedAsEvents {
		return []int{int(s.Partition)}
	}
	all := make([]int, f.cfg.Generation.Buckets)
	for i := range all {
		all[i] = i
	}
	return all
}

// Reads reports whether the model is made of a source's events.
func (f *Follower) Reads(s readstore.Source) bool {
	return slices.Contains(f.model.Aggregates, s.Aggregate)
}

// Assign adds sources and returns the offset that each must be read from.
func (f *Follower) Assign(ctx context.Context, sources []readstore.Source) (map[readstore.Source]int64, error) {
	for _, s := range sources {
		if f.Reads(s) {
			f.sources[s] = true
			for _, n := range f.bucketsOf(s) {
				f.buckets[n] = nil // a checkpoint may have moved while somebody else owned the source
			}
		}
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	from := map[readstore.Source]int64{}
	for _, s := range sources {
		if f.Reads(s) {
			from[s] = f.start(s)
		}
	}
	return from, nil
}

// Revoke removes sources.
func (f *Follower) Revoke(sources []readstore.Source) {
	for _, s := range sources {
		delete(f.sources, s)
	}
}

// load fetches the checkpoints, and what is parked, of every bucket that is not known.
func (f *Follower) load(ctx context.Context) error {
	for s := range f.sources {
		for _, n := range f.bucketsOf(s) {
			b := f.buckets[n]
			if b != nil && b.parked != nil {
				continue
			}
			texts, checkpoints, err := f.cfg.Store.Parked(ctx, f.bucket(n))
			if err != nil {
				return fmt.Errorf("loading checkpoints of %s: %w", f.bucket(n), err)
			}
			if err := f.check(checkpoints); err != nil {
				return err
			}
			parked, err := parseParked(texts)
			if err != nil {
				return fmt.Errorf("loading %s: %w", f.bucket(n), err)
			}
			if b == nil {
				b = &bucketState{checkpoints: checkpoints, documents: map[string]*shown{}, confirmed: time.Now()}
				f.buckets[n] = b
			} else if !maps.Equal(checkpoints, b.checkpoints) {
				f.found(ctx, b.adopt(checkpoints))
			}
			b.parked = parked
		}
	}
	return nil
}

// check refuses checkpoints that were made from another log.
func (f *Follower) check(checkpoints readstore.Checkpoints) error {
	for s, c := range checkpoints {
		if want := f.cfg.Generation.TopicIDs[s.Aggregate]; c != (readstore.Checkpoint{}) && c.TopicID != want {
			return fmt.Errorf("checkpoint of %s in generation %s is of topic id %s, the generation was built from %s", s, f.cfg.Generation.ID, c.TopicID, want)
		}
	}
	return nil
}

// start is the lowest offset that any bucket needs of a source.
func (f *Follower) start(s readstore.Source) int64 {
	lowest := int64(-1)
	for _, n := range f.bucketsOf(s) {
		if o := f.buckets[n].checkpoints[s].Offset; lowest < 0 || o < lowest {
			lowest = o
		}
	}
	return max(lowest, 0)
}

// needs returns the offset that each assigned source must be read from.
func (f *Follower) needs(ctx context.Context) (map[readstore.Source]int64, error) {
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	from := map[readstore.Source]int64{}
	for s := range f.sources {
		from[s] = f.start(s)
	}
	return from, nil
}

// Apply folds what a log delivered. A source in rewind must be read again from the offset given there:
// the store is not where this follower believed it to be. An event that cannot be applied is parked, and
// with it what follows of its aggregate; in a model of snapshots it is an error, and nothing of its run is
// written.
func (f *Follower) Apply(ctx context.Context, in Fetched) (rewind map[readstore.Source]int64, err error) {
	ignored := f.ignored
	writes, changed, err := f.fold(ctx, in)
	if err != nil || len(writes) == 0 {
		return f.rewindOf(changed), err
	}
	began := time.Now()
	results, err := f.cfg.Store.Apply(ctx, writes)
	f.cfg.Metrics.write.WithLabelValues(f.model.Name).Observe(time.Since(began).Seconds())
	if err != nil {
		f.cfg.Metrics.failed.WithLabelValues(f.model.Name).Inc()
		f.forget(writes)
		return nil, fmt.Errorf("writing %s: %w", f.model.Name, err)
	}
	f.cfg.Metrics.ignored.WithLabelValues(f.model.Name).Add(float64(f.ignored - ignored))
	again := map[readstore.Source]bool{}
	for i, r := range results {
		w := writes[i]
		if r.Err != nil {
			f.forget(writes)
			return nil, fmt.Errorf("writing %s: %w", w.Bucket, r.Err)
		}
		b := f.buckets[w.Bucket.Number]
		if r.Applied {
			for _, a := range w.Advances {
				b.checkpoints[a.Source] = a.To
			}
			b.confirmed = time.Now()
			continue
		}
		f.cfg.Metrics.conflicts.WithLabelValues(f.model.Name).Inc()
		if err := f.check(r.Stored); err != nil {
			f.forget(writes)
			return nil, err
		}
		stored := maps.Clone(b.checkpoints)
		for _, a := range w.Advances {
			stored[a.Source] = r.Stored[a.Source]
			again[a.Source] = true
		}
		f.found(ctx, b.adopt(stored))
	}
	return f.rewindOf(again), nil
}

// reached returns the offset below which no event of a source is missing, and false if that is not known.
func (f *Follower) reached(s readstore.Source) (int64, bool) {
	for _, n := range f.bucketsOf(s) {
		if f.buckets[n] == nil {
			return 0, false
		}
	}
	return f.start(s), f.sources[s]
}

func (f *Follower) rewindOf(sources map[readstore.Source]bool) map[readstore.Source]int64 {
	rewind := map[readstore.Source]int64{}
	for s := range sources {
		rewind[s] = f.start(s)
	}
	return rewind
}

// forget drops what is known of buckets whose writes may or may not have been applied.
func (f *Follower) forget(writes []readstore.Write) {
	for _, w := range writes {
		f.buckets[w.Bucket.Number].forget()
	}
}

// unwind drops what a run that is not written may have changed.
func (f *Follower) unwind() {
	for _, b := range f.buckets {
		if b != nil {
			b.forget()
		}
	}
}

// sourcesIn returns the sources of a run. A run that is not applied must be read again whole: the log
// has moved on in all of its sources, and a quiet one would never be offered again.
func (f *Follower) sourcesIn(in Fetched) map[readstore.Source]bool {
	sources := map[readstore.Source]bool{}
	for s := range in.Upto {
		if f.sources[s] {
			sources[s] = true
		}
	}
	return sources
}

// fold makes the writes of a run. If the run does not fit what the store holds, nothing is folded and
// changed names the sources to read again: all of the run's.
func (f *Follower) fold(ctx context.Context, in Fetched) (writes []readstore.Write, changed map[readstore.Source]bool, err error) {
	if err := f.load(ctx); err != nil {
		return nil, nil, err
	}
	// A run that begins behind what a bucket needs would skip events.
	for s, from := range in.From {
		if f.sources[s] && from > f.start(s) {
			return nil, f.sourcesIn(in), nil
		}
	}
	run := &run{f: f, in: in, ops: map[int]*opSet{}, commands: map[bucketSource]int64{}, parked: f.parkedNames()}
	if f.model.KeyedAsEvents {
		if moved, err := run.loadDocuments(ctx); err != nil {
			return nil, nil, err
		} else if moved {
			return nil, f.sourcesIn(in), nil
		}
	}
	for _, e := range in.Events {
		if err := run.apply(ctx, e); err != nil {
			f.unwind() // documents are changed and not written
			if errors.Is(err, errMoved) {
				return nil, f.sourcesIn(in), f.load(ctx)
			}
			return nil, nil, fmt.Errorf("applying event at %s/%d@%d (%s of %s) to %s: %w", e.Aggregate, e.Partition, e.Offset, e.Type, e.AggregateID, f.model.Name, err)
		}
	}
	if writes, err = run.writes(); err != nil {
		f.unwind()
		return nil, nil, err
	}
	return writes, nil, nil
}
