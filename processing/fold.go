package processing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ledgerline/ledgerline/readstore"
)

type bucketSource struct {
	bucket int
	source readstore.Source
}

// run is one Apply at work.
type run struct {
	f   *Follower
	in  Fetched
	ops map[int]*opSet
	// commands is the offset of the last command applied whole, per bucket and source.
	commands map[bucketSource]int64
	// parked are the names that are parked in any bucket, at first or by now.
	parked map[string]bool
}

// loadDocuments fetches the documents that the run needs and the follower does not hold, each bucket's
// together with its checkpoints. It reports whether the checkpoints of a bucket were not as expected:
// what was known of that bucket is forgotten then.
func (r *run) loadDocuments(ctx context.Context) (moved bool, err error) {
	missing := r.missing()
	if len(missing) > 0 && r.f.makeRoom() {
		missing = r.missing()
	}
	for n, ids := range missing {
		b := r.f.buckets[n]
		texts, checkpoints, err := r.f.cfg.Store.Load(ctx, r.f.bucket(n), slices.Collect(maps.Keys(ids)))
		if err != nil {
			return false, fmt.Errorf("loading documents of %s: %w", r.f.bucket(n), err)
		}
		if !maps.Equal(checkpoints, b.checkpoints) {
			if err := r.f.check(checkpoints); err != nil {
				return false, err
			}
			r.f.found(ctx, b.adopt(checkpoints))
			moved = true
			continue
		}
		for id := range ids {
			doc, err := r.f.model.decodeDocument(texts[id])
			if err != nil {
				return false, fmt.Errorf("%s: %w", id, err)
			}
			b.hold(id, doc, len(texts[id]))
		}
	}
	return moved, nil
}

// missing returns the ids of the documents that the run needs and the follower does not hold, by bucket.
func (r *run) missing() map[int]map[string]bool {
	missing := map[int]map[string]bool{}
	for _, e := range r.in.Events {
		b := r.f.buckets[int(e.Partition)]
		if b == nil || !r.f.sources[e.Source()] {
			continue
		}
		if _, ok := b.documents[e.AggregateID]; !ok {
			if missing[int(e.Partition)] == nil {
				missing[int(e.Partition)] = map[string]bool{}
			}
			missing[int(e.Partition)][e.AggregateID] = true
		}
	}
	return missing
}

// apply folds an event into what the run writes, or parks it.
func (r *run) apply(ctx context.Context, e Event) error {
	s := e.Source()
	if !r.f.sources[s] {
		return nil
	}
	var err error
	if r.f.model.KeyedAsEvents {
		err = r.applyDocument(ctx, s, e)
	} else {
		r.applyOperations(ctx, s, e)
	}
	if e.Last {
		for _, n := range r.f.bucketsOf(s) {
			r.commands[bucketSource{n, s}] = e.CommandOffset
		}
	}
	return err
}

func (r *run) applyOperations(ctx context.Context, s readstore.Source, e Event) {
	ops, cause := r.f.model.operations(e)
	if cause == nil && !r.parked[ParkedName(e.Aggregate, e.AggregateID)] {
		for _, op := range ops {
			n := readstore.BucketOf(op.ID, r.f.cfg.Generation.Buckets)
			if e.Offset >= r.f.buckets[n].checkpoints[s].Offset {
				r.opsOf(n).add(op)
			}
		}
		return
	}
	// What a bucket has parked is that bucket's own: another one may have it applied, by another build.
	name := ParkedName(e.Aggregate, e.AggregateID)
	for _, n := range r.f.bucketsOf(s) {
		b := r.f.buckets[n]
		switch {
		case e.Offset < b.checkpoints[s].Offset:
		case cause != nil || b.parked[name] != nil:
			r.parked[name] = true
			r.park(ctx, n, e, cause)
		default:
			for _, op := range ops {
				if readstore.BucketOf(op.ID, r.f.cfg.Generation.Buckets) == n {
					r.opsOf(n).add(op)
				}
			}
		}
	}
}

func (r *run) applyDocument(ctx context.Context, s readstore.Source, e Event) error {
	n := int(e.Partition)
	b := r.f.buckets[n]
	if e.Offset < b.checkpoints[s].Offset {
		return nil
	}
	if b.parked[ParkedName(e.Aggregate, e.AggregateID)] != nil {
		r.park(ctx, n, e, nil)
		return nil
	}
	applied, err := r.f.model.advance(b.documents[e.AggregateID].document, e)
	switch {
	case err != nil && !r.f.model.parks():
		return err
	case err != nil:
		if e.Undecodable == nil {
			if err := r.undo(ctx, s, e); err != nil {
				return err
			}
		}
		r.park(ctx, n, e, err)
	case applied:
		r.opsOf(n).touched[e.AggregateID] = true
	default:
		r.f.ignored++
	}
	return nil
}

// errMoved means that a bucket is not where it was when the run began.
var errMoved = errors.New("the bucket has moved on")

// undo makes the document of an aggregate anew as it was before an event that has left it half changed: out of
// the store and of what the run had folded into it.
func (r *run) undo(ctx context.Context, s readstore.Source, failed Event) error {
	n, id := int(failed.Partition), failed.AggregateID
	b := r.f.buckets[n]
	texts, checkpoints, err := r.f.cfg.Store.Load(ctx, r.f.bucket(n), []string{id})
	if err != nil {
		return fmt.Errorf("loading document %s of %s again: %w", id, r.f.bucket(n), err)
	}
	if !maps.Equal(checkpoints, b.checkpoints) {
		return errMoved
	}
	doc, err := r.f.model.decodeDocument(texts[id])
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	for _, e := range r.in.Events {
		if e.AggregateID != id || e.Source() != s || e.Offset < checkpoints[s].Offset || e.Offset >= failed.Offset {
			continue
		}
		if _, err := r.f.model.advance(doc, e); err != nil {
			return fmt.Errorf("applying the event at %s@%d again, which went well before: %w", s, e.Offset, err)
		}
	}
	b.hold(id, doc, len(texts[id]))
	return nil
}

func (r *run) opsOf(n int) *opSet {
	if r.ops[n] == nil {
		r.ops[n] = newOpSet()
	}
	return r.ops[n]
}

// writes makes one write per bucket that has to move.
func (r *run) writes() ([]readstore.Write, error) {
	var writes []readstore.Write
	for n, b := range r.f.buckets {
		if b == nil {
			continue
		}
		w := readstore.Write{Bucket: r.f.bucket(n)}
		for s, next := range r.in.Upto {
			if !r.f.sources[s] || r.f.model.KeyedAsEvents && int(s.Partition) != n {
				continue
			}
			from := b.checkpoints[s]
			if next <= from.Offset {
				continue
			}
			to := readstore.Checkpoint{
				Generation: r.f.cfg.Generation.ID, CodeVersion: r.f.model.CodeVersion, TopicID: r.f.cfg.Generation.TopicIDs[s.Aggregate],
				Offset: next, Command: from.Command, Change: cmp.Or(b.change, from.Change),
			}
			if from == (readstore.Checkpoint{}) {
				to.Command, to.Change = -1, cmp.Or(b.change, newChange())
			}
			if c, ok := r.commands[bucketSource{n, s}]; ok {
				to.Command = max(to.Command, c)
			}
			w.Advances = append(w.Advances, readstore.Advance{Source: s, From: from, To: to})
		}
		if len(w.Advances) == 0 {
			continue
		}
		slices.SortFunc(w.Advances, func(a, b readstore.Advance) int {
			return cmp.Or(cmp.Compare(a.Source.Aggregate, b.Source.Aggregate), cmp.Compare(a.Source.Partition, b.Source.Partition))
		})
		if ops := r.ops[n]; ops != nil {
			w.Ops = ops.list
			for id := range ops.touched {
				doc := b.documents[id].document
				text, err := json.Marshal(doc)
				if err != nil {
					return nil, fmt.Errorf("encoding document %s of %s: %w", id, r.f.model.Name, err)
				}
				b.hold(id, doc, len(text))
				w.Ops = append(w.Ops, readstore.Op{Kind: readstore.SetDocument, ID: id, Value: string(text)})
			}
			for name := range ops.parked {
				op, err := b.parked[name].op(name)
				if err != nil {
					return nil, err
				}
				w.Ops = append(w.Ops, op)
			}
		}
		writes = append(writes, w)
	}
	slices.SortFunc(writes, func(a, b readstore.Write) int { return cmp.Compare(a.Bucket.Number, b.Bucket.Number) })
	return writes, nil
}

// opSet collects a bucket's operations, one per key and field.
type opSet struct {
	list    []readstore.Op
	sums    map[opKey]int // index in list
	touched map[string]bool
	parked  map[string]bool // by aggregate/id
}

func newOpSet() *opSet {
	return &opSet{sums: map[opKey]int{}, touched: map[string]bool{}, parked: map[string]bool{}}
}

type opKey struct {
	kind      readstore.OpKind
	id, field string
}

func (o *opSet) add(op readstore.Op) {
	key := opKey{op.Kind, op.ID, op.Field}
	i, ok := o.sums[key]
	if !ok {
		o.sums[key] = len(o.list)
		o.list = append(o.list, op)
		return
	}
	o.list[i].Delta += op.Delta
	o.list[i].Value = op.Value
}
