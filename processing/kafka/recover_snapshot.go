package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// recoverChunk is how many events are read back before the states that they change are loaded at once.
const recoverChunk = 2000

// recoveredEvent is an event that was read back; unreadable is why it cannot be decoded.
type recoveredEvent struct {
	id         string
	offset     int64
	event      processing.Event
	unreadable error
}

// waiting takes the partitions out of fresh that wait for the store.
func (k *stateKeeper) waiting(fresh map[topicPartition]uint64) {
	for tp := range k.held {
		delete(fresh, tp)
	}
}

// forget gives back what is held of a partition.
func (k *stateKeeper) forget(tp topicPartition, o *ownedPartition) {
	delete(k.held, tp)
	if o != nil && k.store != nil {
		o.Release()
	}
}

// bases has partitions go on from their snapshots, and returns the offset from which the events of each
// are to be read. Those of which the store does not tell are left out, for a later call. logs is how far
// the log of events of each reaches: what has no event needs no snapshot.
func (k *stateKeeper) bases(ctx context.Context, fresh map[topicPartition]*ownedPartition, logs map[topicPartition]int64) map[topicPartition]int64 {
	from := map[topicPartition]int64{}
	checkpoints := map[topicPartition]readstore.Checkpoint{}
	wrong := map[topicPartition]error{}
	var unchosen error
	var mu sync.Mutex
	var asked sync.WaitGroup
	lctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for tp, o := range fresh {
		if k.store == nil || logs[tp] == 0 {
			continue
		}
		if unchosen == nil { // else the others need not wait for the same
			o.generation, unchosen = k.choose(ctx, k.s.aggregates[tp.topic])
		}
		if unchosen != nil {
			wrong[tp] = unchosen
			continue
		}
		bucket := k.bucket(tp, o)
		asked.Go(func() {
			_, found, err := k.store.Load(lctx, bucket, nil)
			mu.Lock()
			defer mu.Unlock()
			checkpoints[tp] = found[o.Source()]
			if err != nil {
				wrong[tp] = err
			}
		})
	}
	asked.Wait()
	var trouble error
	for tp, o := range fresh {
		at, err := checkpoints[tp], wrong[tp]
		if g := o.generation; err == nil && at != (readstore.Checkpoint{}) && (at.Generation != g.ID || at.CodeVersion != g.CodeVersion || at.TopicID != g.TopicIDs[o.Source().Aggregate]) {
			err = fmt.Errorf("its checkpoint %q belongs to something else: %w", at, readstore.ErrBroken)
		}
		if err != nil {
			if err = k.failed(ctx, tp, o, err); err != nil {
				trouble = err
			}
			k.held[tp] = &hold{}
			continue
		}
		if k.store != nil {
			o.UseSnapshot(k.memory, at)
			o.written = time.Now()
		}
		from[tp] = at.Offset
	}
	if k.store != nil && (len(checkpoints) > 0 || trouble != nil) {
		k.answered(ctx, trouble)
	}
	return from
}

// recovered takes in an event that was read back.
func (k *stateKeeper) recovered(ctx context.Context, o *ownedPartition, e recoveredEvent) {
	k.s.cfg.Metrics.recovered.Inc()
	o.pending = append(o.pending, e)
	if len(o.pending) >= recoverChunk {
		k.fold(ctx, o)
	}
}

// fold folds the events that were read back. What goes wrong is kept in the partition.
func (k *stateKeeper) fold(ctx context.Context, o *ownedPartition) {
	defer func() { o.pending = o.pending[:0] }()
	if o.failed != nil || len(o.pending) == 0 {
		return
	}
	ids := make([]string, len(o.pending))
	for i := range o.pending {
		ids[i] = o.pending[i].id
	}
	if ids = o.NeedsToRecover(ids); len(ids) > 0 {
		if o.failed = k.loadToRecover(ctx, o, ids); o.failed != nil {
			return
		}
	}
	for _, e := range o.pending {
		if e.unreadable != nil {
			o.RecoverUnreadable(e.id, e.offset, e.unreadable)
		} else {
			o.RecoverEvent(e.event)
		}
	}
	if k.store != nil && (o.Unsaved() >= maxSnapshot || k.memory.Pressing()) {
		o.failed = k.writeToRecover(ctx, o)
		k.memory.Trim()
	}
}

func (k *stateKeeper) loadToRecover(ctx context.Context, o *ownedPartition, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	documents, checkpoints, err := k.store.Load(ctx, k.bucket(o.tp, o), ids)
	if err != nil {
		return err
	}
	k.s.cfg.Metrics.loaded(len(ids), len(documents))
	return o.Loaded(ids, documents, checkpoints)
}

// writeToRecover writes a snapshot in the middle of a log, so that its states need not all fit into memory.
func (k *stateKeeper) writeToRecover(ctx context.Context, o *ownedPartition) error {
	w := o.Snapshot(o.generation)
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	began := time.Now()
	result, err := k.write(ctx, w)
	bad := o.Saved(w, result, err)
	k.s.cfg.Metrics.saved(time.Since(began), w.States(), err, bad)
	return errors.Join(err, bad)
}

// folded folds what is left and takes the partitions out of all whose snapshots went wrong meanwhile.
func (k *stateKeeper) folded(ctx context.Context, all map[topicPartition]*ownedPartition) {
	var trouble error
	for tp, o := range maps.Clone(all) {
		k.fold(ctx, o)
		o.pending = nil
		if o.failed == nil {
			continue
		}
		delete(all, tp)
		if err := k.failed(ctx, tp, o, o.failed); err != nil {
			trouble = err
		}
		k.forget(tp, o)
		k.held[tp] = &hold{}
	}
	if trouble != nil {
		k.answered(ctx, trouble)
	}
}

// identity tells which log an aggregate's events are.
func identity(ctx context.Context, adm *kadm.Client, topics Topics, aggregate string) (processing.Identity, error) {
	topic := topics.Events(aggregate)
	found, err := adm.Metadata(ctx, topic)
	if err == nil {
		err = found.Topics[topic].Err
	}
	if err != nil {
		return processing.Identity{}, fmt.Errorf("asking for the id of %s: %w", topic, err)
	}
	id := found.Topics[topic].ID
	return processing.Identity{
		ClusterID: found.Cluster, TopicIDs: map[string]string{aggregate: topicID(id)},
		Partitions: map[string]int32{aggregate: int32(len(found.Topics[topic].Partitions))},
	}, nil
}
