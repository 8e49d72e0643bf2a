package processing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/readstore"
)

// RebuildConfig configures [Build], [Verify] and [Promote].
type RebuildConfig struct {
	Model *ReadModel
	Store readstore.Store
	// Events is the log that is replayed.
	Events Log
	// Owner names the process in the builder's lease.
	Owner string
	// Progress is told about twice a second. Defaults to nobody.
	Progress func(Progress)
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	Log *slog.Logger
	// Metrics count what is done. Defaults to nobody.
	Metrics *Metrics
}

func (c *RebuildConfig) check() error {
	if c.Model == nil || c.Store == nil || c.Events == nil {
		return errors.New("rebuild: model, store and log are required")
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	c.Metrics.start(c.Model.Name)
	return nil
}

// Progress is how far a build or a verification is.
type Progress struct {
	Generation string
	// Events is how many were read.
	Events int64
	// Done is how many offsets are read, of Total at the start; more are appended meanwhile.
	Done, Total int64
	// Rate is in events per second since the start.
	Rate float64
	// Left is the estimated time to the end.
	Left time.Duration
}

// Lease is how long a builder may be silent before another one takes its generation over.
const Lease = 10 * time.Second

// ErrBeingBuilt is returned by Build when another process holds the lease.
var ErrBeingBuilt = errors.New("another process is building this read model")

// errCaughtUp ends a read. A read that ends in any other way, even without an error, is not at its end.
var (
	errCaughtUp  = errors.New("caught up")
	errReadEnded = errors.New("the log ended the read before its end")
)

// Build makes a generation of the model from the beginning of the log, or goes on with one whose
// builder has gone silent, and returns it once it is ready: within one batch of the end of the log.
// From then on processors follow it. It is neither verified nor active.
func Build(ctx context.Context, cfg RebuildConfig) (readstore.Generation, error) {
	return buildIf(ctx, cfg, always)
}

func always(readstore.Catalog) bool { return true }

// errNotNeeded is returned by buildIf if the catalog says that there is nothing to build.
var errNotNeeded = errors.New("no generation is needed")

// buildIf builds if the catalog still says so when the generation is claimed.
func buildIf(ctx context.Context, cfg RebuildConfig, needed func(readstore.Catalog) bool) (readstore.Generation, error) {
	if err := cfg.check(); err != nil {
		return readstore.Generation{}, err
	}
	marks, err := sourcesOf(ctx, cfg.Events, cfg.Model)
	if err != nil {
		return readstore.Generation{}, err
	}
	g, err := claim(ctx, &cfg, needed)
	if err != nil {
		return g, err
	}
	f, err := NewFollower(FollowerConfig{Model: cfg.Model, Generation: g, Store: cfg.Store, CacheBytes: buildCacheBytes, Log: Sparing(cfg.Log), Metrics: cfg.Metrics})
	if err != nil {
		return g, err
	}
	sources := make([]readstore.Source, 0, len(marks))
	for s := range marks {
		sources = append(sources, s)
	}
	from, err := f.Assign(ctx, sources)
	if err != nil {
		return g, cfg.retireBroken(ctx, g.ID, err)
	}
	b := &build{cfg: &cfg, g: g, watch: newWatch(&cfg, g.ID, marks, from)}
	r := &replay{events: cfg.Events, f: f, marks: marks, position: from, saw: b.saw}
	running := cfg.Metrics.building.WithLabelValues(cfg.Model.Name)
	running.Inc()
	err = r.run(ctx)
	running.Dec()
	if err != nil {
		return g, fmt.Errorf("building generation %s of %s (run it again to go on from here): %w", g.ID, cfg.Model.Name, cfg.retireBroken(ctx, g.ID, err))
	}
	b.watch.report()
	cfg.Metrics.progress.WithLabelValues(cfg.Model.Name).Set(1)
	err = UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		mine, ok := c.Generations[g.ID]
		if !ok || mine.State != readstore.Building || mine.Builder != g.Builder {
			return fmt.Errorf("generation %s of %s was taken over while it was built", g.ID, cfg.Model.Name)
		}
		mine.State, mine.ReadyAt, mine.Builder, mine.LeaseUntil = readstore.Ready, cfg.Now().UTC(), "", time.Time{}
		c.Generations[g.ID] = mine
		g = mine
		return nil
	})
	return g, err
}

// retireBroken retires a generation that cause says is broken, so that nobody takes it up again. It
// returns cause, joined with what went wrong here.
func (c *RebuildConfig) retireBroken(ctx context.Context, id string, cause error) error {
	if !errors.Is(cause, readstore.ErrBroken) {
		return cause
	}
	return errors.Join(cause, Retire(ctx, c.Store, c.Model.Name, id))
}

// claim makes a new generation, or takes over the one whose builder has gone silent.
func claim(ctx context.Context, cfg *RebuildConfig, needed func(readstore.Catalog) bool) (readstore.Generation, error) {
	id, err := cfg.Events.Identity(ctx)
	if err != nil {
		return readstore.Generation{}, err
	}
	now := cfg.Now().UTC()
	owner := cfg.Owner + " " + uuid.NewString()[:8]
	var g readstore.Generation
	err = UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		if !needed(*c) {
			return errNotNeeded
		}
		old, found, err := unfinished(*c, cfg.Model, id, now)
		if err != nil {
			return err
		}
		if found {
			old.Builder, old.LeaseUntil = owner, now.Add(Lease)
			c.Generations[old.ID], g = old, old
			return nil
		}
		topics := map[string]string{}
		for _, a := range cfg.Model.Aggregates {
			topics[a] = id.TopicIDs[a]
		}
		g = readstore.Generation{
			ID: now.Format("20060102-150405-") + uuid.NewString()[:8], Model: cfg.Model.Name, State: readstore.Building,
			CodeVersion: cfg.Model.CodeVersion, Buckets: cfg.Model.Buckets(id.Partitions[cfg.Model.Aggregates[0]]),
			ClusterID: id.ClusterID, TopicIDs: topics, CreatedAt: now, Builder: owner, LeaseUntil: now.Add(Lease),
		}
		c.Generations[g.ID] = g
		return nil
	})
	return g, err
}

func sameTopics(m *ReadModel, a, b map[string]string) bool {
	for _, aggregate := range m.Aggregates {
		if a[aggregate] != b[aggregate] {
			return false
		}
	}
	return true
}

// buildCacheBytes bounds the documents that a build holds between batches: a replay meets most of them seldom.
const buildCacheBytes = 16 << 20

// nearEnd is how many offsets before its end a log counts as read: about a batch, which those who follow it
// take from there.
const nearEnd = 1000

// replay reads a log into a follower until that has all of it but what came in the last moment.
type replay struct {
	events Log
	f      *Follower
	// marks say how far it goes: the ends of the sources to read, as of the last look.
	marks    map[readstore.Source]Mark
	position map[readstore.Source]int64
	// saw is told of what was applied.
	saw func(context.Context, Fetched) error
}

// run returns nil once the end is near. Then the follower is where position says.
func (r *replay) run(ctx context.Context) error {
	caught, err := r.caughtUp(ctx)
	if err != nil || caught {
		return err
	}
	err = r.events.Read(ctx, maps.Clone(r.position), func(in Fetched) (map[readstore.Source]int64, error) {
		rewind, err := r.f.Apply(ctx, in)
		if err != nil {
			return nil, err
		}
		maps.Copy(r.position, in.Upto)
		maps.Copy(r.position, rewind)
		if err := r.saw(ctx, in); err != nil {
			return nil, err
		}
		caught, err := r.caughtUp(ctx)
		if err == nil && caught {
			err = errCaughtUp
		}
		return rewind, err
	})
	if errors.Is(err, errCaughtUp) {
		return nil
	}
	return cmp.Or(err, errReadEnded)
}

// caughtUp reports whether every source is read to its end, looking for a new end each time the last
// one is reached.
func (r *replay) caughtUp(ctx context.Context) (bool, error) {
	if r.behind() > 0 {
		return false, nil
	}
	marks, err := sourcesOf(ctx, r.events, r.f.Model())
	if err != nil {
		return false, err
	}
	for s := range r.marks {
		r.marks[s] = marks[s]
	}
	return r.behind() < nearEnd, nil
}

func (r *replay) behind() (n int64) {
	for s, m := range r.marks {
		n += max(m.End-r.position[s], 0)
	}
	return n
}

// build is one Build at work.
type build struct {
	cfg     *RebuildConfig
	g       readstore.Generation
	renewed time.Time
	watch   *watch
}

// saw tells of what was read, and keeps the lease.
func (b *build) saw(ctx context.Context, in Fetched) error {
	b.watch.saw(in)
	now := b.cfg.Now()
	if now.Sub(b.renewed) <= Lease/5 {
		return nil
	}
	b.renewed = now
	return b.renew(ctx, now)
}

// renew keeps the lease.
func (b *build) renew(ctx context.Context, now time.Time) error {
	return UpdateCatalog(ctx, b.cfg.Store, b.cfg.Model.Name, func(c *readstore.Catalog) error {
		g, ok := c.Generations[b.g.ID]
		if !ok || g.State != readstore.Building || g.Builder != b.g.Builder {
			return fmt.Errorf("generation %s was taken over by %q or removed", b.g.ID, g.Builder)
		}
		g.LeaseUntil = now.UTC().Add(Lease)
		c.Generations[g.ID] = g
		return nil
	})
}

// watch counts events and reports.
type watch struct {
	cfg        *RebuildConfig
	generation string
	events     int64
	done       int64
	total      int64
	began      time.Time
	reported   time.Time
}

func newWatch(cfg *RebuildConfig, generation string, marks map[readstore.Source]Mark, from map[readstore.Source]int64) *watch {
	w := &watch{cfg: cfg, generation: generation, began: cfg.Now()}
	for s, m := range marks {
		w.total += max(m.End-from[s], 0)
	}
	return w
}

func (w *watch) saw(in Fetched) {
	w.events += int64(len(in.Events))
	w.cfg.Metrics.built.WithLabelValues(w.cfg.Model.Name).Add(float64(len(in.Events)))
	for s, next := range in.Upto {
		w.done += next - in.From[s]
	}
	if now := w.cfg.Now(); now.Sub(w.reported) > 500*time.Millisecond {
		w.reported = now
		w.report()
	}
}

func (w *watch) report() {
	p := Progress{Generation: w.generation, Events: w.events, Done: min(w.done, w.total), Total: w.total}
	if spent := w.cfg.Now().Sub(w.began); spent > 0 {
		p.Rate = float64(w.events) / spent.Seconds()
	}
	if p.Done > 0 {
		p.Left = time.Duration(float64(w.cfg.Now().Sub(w.began)) * float64(p.Total-p.Done) / float64(p.Done))
	}
	ratio := 1.0
	if p.Total > 0 {
		ratio = float64(p.Done) / float64(p.Total)
	}
	w.cfg.Metrics.progress.WithLabelValues(w.cfg.Model.Name).Set(ratio)
	w.cfg.Progress(p)
}
