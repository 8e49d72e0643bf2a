package processing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// Difference is one thing that a generation holds otherwise than the log says.
type Difference struct {
	Bucket string `json:"bucket"`
	// What is "document", "sum", "entry", "rank", "event", "parked" or "strange".
	What string `json:"what"`
	Key  string `json:"key"`
	// Log is what the log says and Store what the store holds; "" means missing.
	Log   string `json:"log"`
	Store string `json:"store"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s %s in bucket %s: the log says %s, the store holds %s", d.What, d.Key, d.Bucket, cmp.Or(d.Log, "nothing"), cmp.Or(d.Store, "nothing"))
}

// Verification is what [Verify] found.
type Verification struct {
	Generation string `json:"generation"`
	// Events is how many were folded, Keys how many stored values were compared.
	Events int64 `json:"events"`
	Keys   int64 `json:"keys"`
	// Parked is how many aggregates wait there, Redrivable of how many of them the first event could be applied
	// by this binary. What waits is taken as it is, and counts as no difference if it is in order.
	Parked     int `json:"parked"`
	Redrivable int `json:"redrivable"`
	// Differences are the first, in order; Count is how many there are.
	Differences []Difference `json:"differences"`
	Count       int64        `json:"count"`

	wait, can map[string]bool // the names that are parked, and of them those that could be redriven
}

// OK reports whether log and store agree.
func (v Verification) OK() bool { return v.Count == 0 }

const shownDifferences = 10

// Verify folds the log anew, apart from everything that wrote the generation, and compares every key.
// Each bucket is taken as of one moment, with the checkpoints it had then, so it may run beside
// processors that go on writing. It holds in memory twice what a bucket of a model holds that is keyed as its
// events are, and all buckets of another model. It proves the writing, not the projection. The catalog keeps
// when all agreed, until it does not.
func Verify(ctx context.Context, cfg RebuildConfig, generation string) (Verification, error) {
	if err := cfg.check(); err != nil {
		return Verification{}, err
	}
	g, err := generationOf(ctx, cfg.Store, cfg.Model, generation)
	if err != nil {
		return Verification{}, err
	}
	if g.State != readstore.Ready {
		return Verification{}, fmt.Errorf("verifying generation %s of %s: it is %s, not ready", g.ID, cfg.Model.Name, g.State)
	}
	if g.CodeVersion != cfg.Model.CodeVersion {
		return Verification{}, fmt.Errorf("verifying generation %s of %s: it is of code version %d, this binary carries %d", g.ID, cfg.Model.Name, g.CodeVersion, cfg.Model.CodeVersion)
	}
	v := Verification{Generation: g.ID}
	if err := v.buckets(ctx, &cfg, g); err != nil {
		return v, err
	}
	return v, UpdateCatalog(ctx, cfg.Store, cfg.Model.Name, func(c *readstore.Catalog) error {
		if g, ok := c.Generations[g.ID]; ok {
			g.VerifiedAt = time.Time{}
			if v.OK() {
				g.VerifiedAt = cfg.Now().UTC()
			}
			c.Generations[g.ID] = g
		}
		return nil
	})
}

// buckets compares those of a model keyed as its events are one by one, since each has sources of its own, and
// those of another model all together.
func (v *Verification) buckets(ctx context.Context, cfg *RebuildConfig, g readstore.Generation) error {
	marks, err := sourcesOf(ctx, cfg.Events, cfg.Model)
	if err != nil {
		return err
	}
	w := newWatch(cfg, g.ID, marks, nil)
	at := 1
	if !cfg.Model.KeyedAsEvents {
		at = g.Buckets
	}
	for first := 0; first < g.Buckets; first += at {
		stored := map[int]readstore.Content{}
		for n := first; n < first+at; n++ {
			if stored[n], err = cfg.Store.Inspect(ctx, readstore.Bucket{Model: cfg.Model.Name, Generation: g.ID, Number: n}); err != nil {
				return fmt.Errorf("inspecting bucket %d of generation %s: %w", n, g.ID, err)
			}
		}
		folded, err := foldLog(ctx, cfg, g, stored, w, v)
		if err != nil {
			return err
		}
		for n := first; n < first+at; n++ {
			v.compare(readstore.Bucket{Model: cfg.Model.Name, Generation: g.ID, Number: n}.String(), folded[n], stored[n])
		}
	}
	return nil
}

// generationOf finds a generation by its id, or the active one for "active".
func generationOf(ctx context.Context, store readstore.Catalogs, m *ReadModel, id string) (readstore.Generation, error) {
	c, err := store.Catalog(ctx, m.Name)
	if err != nil {
		return readstore.Generation{}, fmt.Errorf("reading generations of %s: %w", m.Name, err)
	}
	if g, ok := CurrentSnapshots(c, m); m.Snapshots && id == "active" {
		if !ok {
			return g, fmt.Errorf("%s has no generation of this state version; ingest makes one when it needs it, or run: rebuild run %s", m.Name, m.Name)
		}
		return g, nil
	}
	if id == "active" {
		if id = c.Active; id == "" {
			return readstore.Generation{}, fmt.Errorf("%s has no active generation; run: rebuild run %s --promote", m.Name, m.Name)
		}
	}
	g, ok := c.Generations[id]
	if !ok {
		return g, fmt.Errorf("%s has no generation %q; see: rebuild status %s", m.Name, id, m.Name)
	}
	return g, nil
}

// foldLog makes each of some buckets from the log as far as the stored bucket's checkpoints go. It is written
// for being plainly right: no caches, no batches, none of the follower's code.
func foldLog(ctx context.Context, cfg *RebuildConfig, g readstore.Generation, stored map[int]readstore.Content, w *watch, v *Verification) (map[int]readstore.Content, error) {
	marks, err := sourcesOf(ctx, cfg.Events, cfg.Model)
	if err != nil {
		return nil, err
	}
	m := &memory{model: cfg.Model, of: g.Buckets, buckets: map[int]readstore.Content{}, documents: map[string]any{}, parked: map[int]map[string]*waiting{}}
	for n := range stored {
		if m.parked[n], err = waitingIn(stored[n].Parked); err != nil {
			return nil, fmt.Errorf("bucket %d of generation %s: %w", n, g.ID, err)
		}
		m.buckets[n] = readstore.Content{Documents: map[string]string{}, Sums: map[string]int64{}, Entries: map[string]string{}, Ranked: map[string]map[string]int64{}}
	}
	end := map[readstore.Source]int64{}
	for _, content := range stored {
		for s, c := range content.Checkpoints {
			if want := g.TopicIDs[s.Aggregate]; c.TopicID != want {
				return nil, fmt.Errorf("checkpoint of %s is of topic id %s, the generation of %s", s, c.TopicID, want)
			}
			end[s] = max(end[s], c.Offset)
		}
	}
	from := map[readstore.Source]int64{}
	for s, o := range end {
		if o > marks[s].End {
			return nil, fmt.Errorf("generation %s has applied %s up to %d, but the log ends at %d: events are lost", g.ID, s, o, marks[s].End)
		}
		if o > 0 {
			from[s] = 0
		}
	}
	if len(from) == 0 {
		return m.finish(v)
	}
	err = cfg.Events.Read(ctx, maps.Clone(from), func(in Fetched) (map[readstore.Source]int64, error) {
		for _, e := range in.Events {
			s := readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
			if e.Offset >= end[s] {
				continue
			}
			v.Events++
			if err := m.apply(s, e, stored, v); err != nil {
				return nil, fmt.Errorf("folding event at %s@%d: %w", s, e.Offset, err)
			}
		}
		w.saw(in)
		for s, next := range in.Upto {
			if _, ok := from[s]; ok && next >= end[s] {
				delete(from, s)
			}
		}
		if len(from) == 0 {
			return nil, errCaughtUp
		}
		return nil, nil
	})
	if !errors.Is(err, errCaughtUp) {
		return nil, fmt.Errorf("reading the log to verify %s: %w", g.ID, cmp.Or(err, errReadEnded))
	}
	return m.finish(v)
}

// memory is the fold of a log.
type memory struct {
	model     *ReadModel
	of        int // how many buckets the generation has
	buckets   map[int]readstore.Content
	documents map[string]any // "bucket/id"
	// parked is what waits, by bucket and aggregate/id.
	parked map[int]map[string]*waiting
}

func (m *memory) apply(s readstore.Source, e Event, stored map[int]readstore.Content, v *Verification) error {
	if m.model.KeyedAsEvents {
		n := int(e.Partition)
		if e.Offset >= stored[n].Checkpoints[s].Offset {
			return nil
		}
		key := strconv.Itoa(n) + "/" + e.AggregateID
		if m.documents[key] == nil {
			m.documents[key] = m.model.newDocument()
		}
		return m.applyDocument(n, key, e, v)
	}
	var ops []readstore.Op
	cause := e.Undecodable
	if cause == nil {
		ops, cause = m.model.project(e)
	}
	for n, b := range m.buckets {
		if e.Offset >= stored[n].Checkpoints[s].Offset || m.waits(n, e, v, func() error { return cause }) {
			continue
		}
		if cause != nil {
			v.notApplied(n, e, cause)
			continue
		}
		for _, op := range ops {
			if readstore.BucketOf(op.ID, m.of) != n {
				continue
			}
			if err := apply(b, op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) applyDocument(n int, key string, e Event, v *Verification) error {
	try := func() error { // on a copy
		text, err := json.Marshal(m.documents[key])
		if err != nil {
			return err
		}
		doc, err := m.model.decodeDocument(string(text))
		if err != nil {
			return err
		}
		switch version := *versionOf(doc); {
		case e.Undecodable != nil:
			return e.Undecodable
		case e.Version > version+1:
			return fmt.Errorf("version %d follows version %d", e.Version, version)
		case e.Version <= version:
			return nil
		}
		return m.model.fold(doc, e)
	}
	if m.waits(n, e, v, try) {
		return nil
	}
	if e.Undecodable != nil {
		v.notApplied(n, e, e.Undecodable)
		return nil
	}
	doc := m.documents[key]
	version := versionOf(doc)
	switch {
	case e.Version <= *version:
	case e.Version > *version+1:
		v.notApplied(n, e, fmt.Errorf("version %d follows version %d", e.Version, *version))
	default:
		*version = e.Version
		if err := m.model.fold(doc, e); err != nil {
			v.notApplied(n, e, err)
		}
	}
	return nil
}

func apply(b readstore.Content, op readstore.Op) error {
	key := op.ID + "/" + op.Field
	switch op.Kind {
	case readstore.SetEntry:
		b.Entries[key] = op.Value
	case readstore.AddSum:
		b.Sums[key] += op.Delta
		if op.Rank != "" {
			if b.Ranked[op.Rank] == nil {
				b.Ranked[op.Rank] = map[string]int64{}
			}
			b.Ranked[op.Rank][op.ID] = rankedSum(b.Sums[key])
		}
	default:
		return fmt.Errorf("operation of unknown kind %q", op.Kind)
	}
	return nil
}

// rankedSum is what a ranked list keeps of a sum: the nearest double, within int64.
func rankedSum(sum int64) int64 {
	if f := float64(sum); f < 1<<63 {
		return int64(f)
	}
	return math.MaxInt64
}

func (m *memory) finish(v *Verification) (map[int]readstore.Content, error) {
	for n, lists := range m.parked {
		for name, w := range lists {
			v.waiting(name)
			if w.seen < len(w.events) {
				v.add(Difference{Bucket: strconv.Itoa(n), What: "parked", Key: fmt.Sprintf("%s@%d", name, w.events[w.seen].Offset), Store: "an event that waits"})
			}
		}
	}
	for key, doc := range m.documents {
		if *versionOf(doc) == 0 {
			continue // nothing could be applied to it
		}
		bucket, id, _ := strings.Cut(key, "/")
		n, _ := strconv.Atoi(bucket)
		text, err := json.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("encoding document %s: %w", id, err)
		}
		m.buckets[n].Documents[id] = string(text)
	}
	return m.buckets, nil
}

func (v *Verification) compare(bucket string, log, store readstore.Content) {
	same := func(s string) string { return s }
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	compareMaps(v, bucket, "document", log.Documents, store.Documents, same)
	compareMaps(v, bucket, "sum", log.Sums, store.Sums, number)
	compareMaps(v, bucket, "entry", log.Entries, store.Entries, same)
	lists := maps.Clone(log.Ranked)
	for list := range store.Ranked {
		if _, ok := lists[list]; !ok {
			lists[list] = nil
		}
	}
	for _, list := range slices.Sorted(maps.Keys(lists)) {
		compareMaps(v, bucket, "rank in "+list+" of", log.Ranked[list], store.Ranked[list], number)
	}
	for _, s := range store.Strange {
		v.add(Difference{Bucket: bucket, What: "strange", Key: s, Store: s})
	}
}

func compareMaps[V comparable](v *Verification, bucket, what string, log, store map[string]V, text func(V) string) {
	keys := maps.Clone(log)
	if keys == nil {
		keys = map[string]V{}
	}
	maps.Copy(keys, store)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v.Keys++
		want, inLog := log[key]
		got, inStore := store[key]
		if inLog && inStore && want == got {
			continue
		}
		d := Difference{Bucket: bucket, What: what, Key: key}
		if inLog {
			d.Log = text(want)
		}
		if inStore {
			d.Store = text(got)
		}
		v.add(d)
	}
}

func (v *Verification) add(d Difference) {
	v.Count++
	if len(v.Differences) < shownDifferences {
		v.Differences = append(v.Differences, d)
	}
}
