package processing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// auditEvery is how often a processor looks for what its store has lost where it has not written since. A
// write finds it too; but while no event comes there is none, and a store that is emptied or restored drops
// no connection.
const auditEvery = 3 * time.Second

// adopt believes the store: what is held of the bucket is forgotten, and what is parked
// in it not known until it is loaded again. It reports whether the store was
// found behind; what is written from there on is another history then.
func (b *bucketState) adopt(stored readstore.Checkpoints) (behind bool) {
	for s, known := range b.checkpoints {
		behind = behind || stored[s].Offset < known.Offset
	}
	if behind {
		b.change = newChange()
	}
	b.forget()
	b.checkpoints, b.confirmed = stored, time.Now()
	return behind
}

// Audit compares the checkpoints in the store with those that the follower believes to be there, of the
// buckets of which it has not been told since. The sources in rewind must be read again from the offset
// given there.
func (f *Follower) Audit(ctx context.Context, since time.Time) (rewind map[readstore.Source]int64, err error) {
	moved := map[readstore.Source]bool{}
	for n, b := range f.buckets {
		if b == nil || b.confirmed.After(since) {
			continue
		}
		_, stored, err := f.cfg.Store.Load(ctx, f.bucket(n), nil)
		if err != nil {
			return nil, fmt.Errorf("looking at the checkpoints of %s: %w", f.bucket(n), err)
		}
		var differ []readstore.Source
		for s := range f.sources {
			if slices.Contains(f.bucketsOf(s), n) && stored[s] != b.checkpoints[s] {
				differ = append(differ, s)
			}
		}
		if len(differ) == 0 {
			b.confirmed = time.Now()
			continue
		}
		if err := f.check(stored); err != nil {
			return nil, err
		}
		f.found(ctx, b.adopt(stored))
		for _, s := range differ {
			moved[s] = true
		}
	}
	return f.rewindOf(moved), nil
}

// found counts and tells that a bucket is not where it was left.
func (f *Follower) found(ctx context.Context, behind bool) {
	if behind {
		f.cfg.Metrics.rewinds.WithLabelValues(f.model.Name).Inc()
		f.cfg.Log.WarnContext(ctx, "the store has lost what was written to it (emptied or restored?), events are read again", "projection", f.model.Name, "generation", f.cfg.Generation.ID)
		return
	}
	f.cfg.Log.InfoContext(ctx, "another process has written these events first, reading goes on behind it", "projection", f.model.Name, "generation", f.cfg.Generation.ID)
}
