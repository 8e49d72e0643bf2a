package ledgerline

import (
	"context"

	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// snapshots opens the store in which workers keep the states of aggregates. A Redis that does not answer
// is no reason not to start; one that answers and must not be relied on is.
func (l *link) snapshots(ctx context.Context) (kafka.SnapshotStore, func(), error) {
	store, closeStore, err := l.openStore()
	if err != nil {
		return nil, nil, err
	}
	cctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err = store.Check(cctx)
	if err == nil {
		err = l.sameLog(cctx, store, l.app.snapshots())
	}
	if redisstore.IsAway(err) {
		l.conn.Log.WarnContext(ctx, "redis does not answer, aggregates wait whose states are not at hand", "err", err)
		err = nil
	}
	if err != nil {
		closeStore()
		return nil, nil, l.redisError(err)
	}
	return checkedStore{store}, closeStore, nil
}

// checkedStore asks Redis whether it may be relied on whenever a worker begins to use it: it may not have
// answered at the start, or be another one by now.
type checkedStore struct{ *redisstore.Store }

// Catalog implements readstore.Catalogs.
func (s checkedStore) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	if err := s.Check(ctx); err != nil {
		return readstore.Catalog{}, err
	}
	return s.Store.Catalog(ctx, model)
}
