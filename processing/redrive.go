package processing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ledgerline/ledgerline/readstore"
)

// ParkedAggregate is an aggregate that is parked in a generation.
type ParkedAggregate struct {
	Model       string `json:"model"`
	Generation  string `json:"generation"`
	Aggregate   string `json:"aggregate"`
	AggregateID string `json:"aggregate_id"`
	// Buckets is in how many of the generation's buckets it waits. What follows is of the one where the first
	// event waits.
	Buckets int `json:"buckets"`
	Parked
}

// ListParked returns what is parked in the ready generations of a model, by generation and name.
func ListParked(ctx context.Context, store readstore.Store, m *ReadModel) ([]ParkedAggregate, error) {
	catalog, err := store.Catalog(ctx, m.Name)
	if err != nil {
		return nil, fmt.Errorf("reading generations of %s: %w", m.Name, err)
	}
	var list []ParkedAggregate
	for _, id := range slices.Sorted(maps.Keys(catalog.Generations)) {
		g := catalog.Generations[id]
		if g.State != readstore.Ready {
			continue
		}
		found := map[string]*ParkedAggregate{}
		for n := range g.Buckets {
			texts, _, err := store.Parked(ctx, readstore.Bucket{Model: m.Name, Generation: id, Number: n})
			if err != nil {
				return nil, fmt.Errorf("reading what is parked in %s: %w", m.Name, err)
			}
			parked, err := parseParked(texts)
			if err != nil {
				return nil, fmt.Errorf("reading what is parked in %s: %w", m.Name, err)
			}
			for name, p := range parked {
				aggregate, aggregateID, _ := strings.Cut(name, "/")
				known := found[name]
				if known == nil {
					known = &ParkedAggregate{Model: m.Name, Generation: id, Aggregate: aggregate, AggregateID: aggregateID, Parked: *p}
					found[name] = known
				}
				if known.Buckets++; p.Events[0].Offset < known.Events[0].Offset {
					known.Parked = *p
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(found)) {
			list = append(list, *found[name])
		}
	}
	return list, nil
}

// RedriveConfig configures [Redrive].
type RedriveConfig struct {
	Model  *ReadModel
	Store  readstore.Store
	Events EventReader
	// Aggregate and ID name what is parked.
	Aggregate, ID string
	// DryRun has nothing written.
	DryRun bool
}

// Redriven is what became of an aggregate that was parked in a generation.
type Redriven struct {
	Generation string `json:"generation"`
	// Applied is how many events were applied, or would be, and Left how many still wait; an event counts once
	// in however many buckets it waited.
	Applied int `json:"applied"`
	Left    int `json:"left"`
	// Cause is why the first of those that are left cannot be applied, "" if none is left.
	Cause string `json:"cause,omitempty"`
}

// ErrNotParked is returned by [Redrive] for an aggregate that waits nowhere.
var ErrNotParked = errors.New("the aggregate is not parked")

// redriveChunk is the most events that one write of a redrive applies.
const redriveChunk = 1000

// Redrive applies what is parked of an aggregate, in order, in every ready generation of the model's code
// version, as far as this binary can apply it. It may run beside processors, and beside itself: what it applies
// and takes off the list changes in one checked write, under a new change number, so that everybody else loads
// the bucket again. An error leaves what was applied applied.
func Redrive(ctx context.Context, cfg RedriveConfig) ([]Redriven, error) {
	catalog, err := cfg.Store.Catalog(ctx, cfg.Model.Name)
	if err != nil {
		return nil, fmt.Errorf("reading generations of %s: %w", cfg.Model.Name, err)
	}
	var done []Redriven
	for _, id := range slices.Sorted(maps.Keys(catalog.Generations)) {
		g := catalog.Generations[id]
		if g.State != readstore.Ready || g.CodeVersion != cfg.Model.CodeVersion {
			continue
		}
		r := &redrive{cfg: cfg, g: g, name: ParkedName(cfg.Aggregate, cfg.ID), applied: map[int64]bool{}, left: map[int64]bool{}}
		for n := range g.Buckets {
			if err := r.bucket(ctx, readstore.Bucket{Model: cfg.Model.Name, Generation: id, Number: n}); err != nil {
				return done, fmt.Errorf("redriving %s in %s: %w", r.name, cfg.Model.Name, err)
			}
		}
		if len(r.applied)+len(r.left) > 0 {
			done = append(done, Redriven{Generation: id, Applied: len(r.applied), Left: len(r.left), Cause: r.cause})
		}
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("redriving %s in %s: %w in a ready generation of code version %d", ParkedName(cfg.Aggregate, cfg.ID), cfg.Model.Name, ErrNotParked, cfg.Model.CodeVersion)
	}
	return done, nil
}

// redrive is one Redrive at work in a generation.
type redrive struct {
	cfg           RedriveConfig
	g             readstore.Generation
	name          string
	applied, left map[int64]bool // by offset
	cause         string
	// chunk are the events that were read last: a try that comes too late needs them again.
	chunk []Event
}

// bucket redrives in one bucket until nothing is left there that can be applied.
func (r *redrive) bucket(ctx context.Context, b readstore.Bucket) error {
	// skip is how many a dry run would have applied, and document what it has made of them.
	skip, document := 0, ""
	for {
		texts, checkpoints, err := r.cfg.Store.Parked(ctx, b, r.name)
		if err != nil || texts[r.name] == "" {
			return err
		}
		p, err := ParseParked(texts[r.name])
		if err != nil {
			return err
		}
		waiting := p.Events[min(skip, len(p.Events)):]
		if len(waiting) == 0 {
			return nil
		}
		if err := r.read(ctx, p.Partition, waiting[:min(len(waiting), redriveChunk)]); err != nil {
			return err
		}
		if r.cfg.Model.KeyedAsEvents && skip == 0 {
			documents, at, err := r.cfg.Store.Load(ctx, b, []string{r.cfg.ID})
			if err != nil {
				return err
			}
			if !maps.Equal(at, checkpoints) {
				continue
			}
			document = documents[r.cfg.ID]
		}
		ops, applied, cause, err := r.fold(b, document)
		if err != nil {
			return err
		}
		if applied > 0 && !r.cfg.DryRun {
			rest := Parked{Partition: p.Partition, Cause: p.Cause, Events: p.Events[applied:]}
			if cause != nil {
				rest.Cause = causeText(r.chunk[applied], cause)
			}
			ok, err := r.write(ctx, b, checkpoints, ops, rest)
			if err != nil {
				return err
			}
			if !ok {
				continue // somebody else has written: look again
			}
		}
		for _, e := range waiting[:applied] {
			r.applied[e.Offset] = true
		}
		if cause != nil {
			r.cause = cmp.Or(r.cause, causeText(r.chunk[applied], cause))
			for _, e := range waiting[applied:] {
				r.left[e.Offset] = true
			}
			return nil
		}
		if r.cfg.DryRun {
			if skip += applied; r.cfg.Model.KeyedAsEvents {
				document = ops[0].Value
			}
		}
	}
}

// read fetches events from the log, unless they are those that it fetched last.
func (r *redrive) read(ctx context.Context, partition int32, wanted []ParkedEvent) error {
	same := func(e Event, p ParkedEvent) bool { return e.Partition == partition && e.Offset == p.Offset }
	if slices.EqualFunc(r.chunk, wanted, same) {
		return nil
	}
	places := make([]Place, len(wanted))
	for i, w := range wanted {
		places[i] = Place{Partition: partition, Offset: w.Offset}
	}
	events, err := r.cfg.Events.EventsAt(ctx, r.cfg.Aggregate, places)
	if err != nil {
		return err
	}
	for i, e := range events {
		if !same(e, wanted[i]) || e.AggregateID != r.cfg.ID {
			return fmt.Errorf("the log has another event at %s/%s than was parked", r.cfg.Aggregate, places[i])
		}
	}
	r.chunk = events
	return nil
}

// fold makes the operations of a bucket of as many of the chunk's events as can be applied, and says why the
// next one cannot. A document of a model keyed as its events are begins as given.
func (r *redrive) fold(b readstore.Bucket, document string) (ops []readstore.Op, applied int, cause, err error) {
	if !r.cfg.Model.KeyedAsEvents {
		set := newOpSet()
		for _, e := range r.chunk {
			projected, cause := r.cfg.Model.operations(e)
			if cause != nil {
				return set.list, applied, cause, nil
			}
			for _, op := range projected {
				if readstore.BucketOf(op.ID, r.g.Buckets) == b.Number {
					set.add(op)
				}
			}
			applied++
		}
		return set.list, applied, nil, nil
	}
	for applied = len(r.chunk); ; {
		doc, err := r.cfg.Model.decodeDocument(document)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("%s: %w", r.cfg.ID, err)
		}
		failed := -1
		for i, e := range r.chunk[:applied] {
			if _, err := r.cfg.Model.advance(doc, e); err != nil {
				failed, cause = i, err
				break
			}
		}
		if failed >= 0 {
			applied = failed // once more without it: it has left the document half changed
			continue
		}
		text, err := json.Marshal(doc)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("encoding document %s of %s: %w", r.cfg.ID, r.cfg.Model.Name, err)
		}
		return []readstore.Op{{Kind: readstore.SetDocument, ID: r.cfg.ID, Value: string(text)}}, applied, cause, nil
	}
}

// write applies operations and takes off the list what they are of. It reports false if the bucket has moved on.
func (r *redrive) write(ctx context.Context, b readstore.Bucket, checkpoints readstore.Checkpoints, ops []readstore.Op, rest Parked) (bool, error) {
	op, err := rest.op(r.name)
	if err != nil {
		return false, err
	}
	s := readstore.Source{Aggregate: r.cfg.Aggregate, Partition: rest.Partition}
	to := checkpoints[s]
	to.Change = newChange()
	results, err := r.cfg.Store.Apply(ctx, []readstore.Write{{Bucket: b, Advances: []readstore.Advance{{Source: s, From: checkpoints[s], To: to}}, Ops: append(ops, op)}})
	if err != nil {
		return false, err
	}
	if results[0].Err != nil {
		return false, results[0].Err
	}
	return results[0].Applied || results[0].Stored[s] == to, nil
}
