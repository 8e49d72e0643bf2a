package processing

import (
	"cmp"
	"context"
	"encoding/json"
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
		if b == nil || !r.f.sources[readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}] {
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

func (r *run) apply(e Event) error {
	s := readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
	if !r.f.sources[s] {
		return nil
	}
	if r.f.model.KeyedAsEvents {
		return r.applyDocument(s, e)
	}
	ops, err := r.f.model.project(e)
	if err != nil {
		return err
	}
	for _, op := range ops {
		n := readstore.BucketOf(op.ID, r.f.cfg.Generation.Buckets)
		if e.Offset >= r.f.buckets[n].checkpoints[s].Offset {
			r.opsOf(n).add(op)
		}
	}
	if e.Last {
		for _, n := range r.f.bucketsOf(s) {
			r.commands[bucketSource{n, s}] = e.CommandOffset
		}
	}
	return nil
}

func (r *run) applyDocument(s readstore.Source, e Event) error {
	n := int(e.Partition)
	b := r.f.buckets[n]
	if e.Offset < b.checkpoints[s].Offset {
		return nil
	}
	doc := b.documents[e.AggregateID].document
	version := versionOf(doc)
	switch {
	case e.Version <= *version:
		r.f.ignored++
	case e.Version > *version+1:
		return fmt.Errorf("the document is at version %d, the event makes version %d: one in between is missing", *version, e.Version)
	default:
		if err := r.f.model.fold(doc, e); err != nil {
			return err
		}
		*version = e.Version
		r.opsOf(n).touched[e.AggregateID] = true
	}
	if e.Last {
		r.commands[bucketSource{n, s}] = e.CommandOffset
	}
	return nil
}

func (r *run) opsOf(n int) *opSet {
	if r.ops[n] == nil {
		r.ops[n] = &opSet{sums: map[opKey]int{}, touched: map[string]bool{}}
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
