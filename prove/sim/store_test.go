package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

// snapshots stands for the Redis in which workers keep states: what readstore's contract says of one, that
// may lose all of it, or what was written last, and may be away. Redis itself is no part of a simulation:
// its clients wait on real sockets. Real ones are in the native runs.
type snapshots struct {
	mu    sync.Mutex
	store *memstore.Store
	// done is what changed the store since it was empty, in order.
	done []func(*memstore.Store) error
	away bool
}

var errAway = errors.New("the store of snapshots is away")

func newSnapshots() *snapshots { return &snapshots{store: memstore.New()} }

// change does what do does, if it succeeds for good.
func (s *snapshots) change(do func(*memstore.Store) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	err := do(s.store)
	if err == nil {
		s.done = append(s.done, do)
	}
	return err
}

func (s *snapshots) read() (*memstore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	return s.store, nil
}

// keep has the store hold no more than the first n changes, as a replica does that lagged, or a backup.
func (s *snapshots) keep(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store, s.done = memstore.New(), s.done[:n]
	for _, do := range s.done {
		if err := do(s.store); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshots) changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.done)
}

func (s *snapshots) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// snapshotClient is a process's way to the store. Its answers come late, and some never.
type snapshotClient struct {
	p *process
	s *snapshots
}

// reach waits while the process is frozen, and as long as a request takes.
func (c *snapshotClient) reach(ctx context.Context) error {
	c.p.net.lag()
	if err := c.p.net.gateUntil(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// answered says whether the answer to a change arrives.
func (c *snapshotClient) answered(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	if c.p.w.intN(40) == 0 {
		c.p.w.fault("snapshot-answer-lost", c.p.String())
		return errStruck
	}
	return c.reach(ctx)
}

func (c *snapshotClient) Apply(ctx context.Context, writes []readstore.Write) (results []readstore.Result, err error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	err = c.answered(ctx, c.s.change(func(s *memstore.Store) (err error) {
		results, err = s.Apply(context.Background(), writes)
		return err
	}))
	return results, err
}

func (c *snapshotClient) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	if err := c.reach(ctx); err != nil {
		return nil, nil, err
	}
	store, err := c.s.read()
	if err != nil {
		return nil, nil, err
	}
	return store.Load(ctx, b, ids)
}

func (c *snapshotClient) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	if err := c.reach(ctx); err != nil {
		return readstore.Catalog{}, err
	}
	store, err := c.s.read()
	if err != nil {
		return readstore.Catalog{}, err
	}
	return store.Catalog(ctx, model)
}

func (c *snapshotClient) UpdateCatalog(ctx context.Context, model string, catalog readstore.Catalog) error {
	if err := c.reach(ctx); err != nil {
		return err
	}
	return c.answered(ctx, c.s.change(func(s *memstore.Store) error { return s.UpdateCatalog(context.Background(), model, catalog) }))
}

func (c *snapshotClient) Drop(ctx context.Context, g readstore.Generation) error {
	if err := c.reach(ctx); err != nil {
		return err
	}
	return c.answered(ctx, c.s.change(func(s *memstore.Store) error { return s.Drop(context.Background(), g) }))
}

func wipeSnapshots(_ context.Context, w *world, name string) {
	w.fault(name, "all")
	if err := w.snapshots.keep(0); err != nil {
		w.t.Error(err)
	}
}

func rewindSnapshots(_ context.Context, w *world, name string) {
	n := w.snapshots.changes()
	if n == 0 {
		return
	}
	back := 1 + w.intN(min(n, 30))
	w.fault(name, "some")
	if err := w.snapshots.keep(n - back); err != nil {
		w.t.Error(err)
	}
}

func takeSnapshotsAway(ctx context.Context, w *world, name string) {
	w.fault(name, "all")
	w.snapshots.setAway(true)
	defer w.snapshots.setAway(false)
	pauseCtx(ctx, w.between(500*time.Millisecond, 12*time.Second))
}
