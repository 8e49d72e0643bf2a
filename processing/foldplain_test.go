package processing

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

// plainFold is what a bucket must hold at given offsets, made with nothing of the engine: the test's own
// reading of the two models. Events that are parked are left out.
func plainFold(m *ReadModel, l *sliceLog, buckets, number int, upto map[readstore.Source]int64, parked map[string]*Parked) readstore.Content {
	c := readstore.Content{Documents: map[string]string{}, Sums: map[string]int64{}, Entries: map[string]string{}, Ranked: map[string]map[string]int64{}}
	docs := map[string]*jarDocument{}
	add := func(owner, field string, n int64) {
		if readstore.BucketOf(owner, buckets) == number {
			c.Sums[owner+"/"+field] += n
		}
	}
	for s, records := range l.records {
		if !slices.Contains(m.Aggregates, s.Aggregate) || m.KeyedAsEvents && int(s.Partition) != number {
			continue
		}
		for _, e := range records {
			if e.Offset >= upto[s] {
				break
			}
			if p := parked[e.Aggregate+"/"+e.AggregateID]; p != nil && e.Offset >= p.Events[0].Offset {
				continue
			}
			var d Deposited
			switch data := e.Data.(type) {
			case Deposited:
				d = data
			case Late:
				d = Deposited(data)
			}
			if m.KeyedAsEvents {
				doc := docs[e.AggregateID]
				if doc == nil {
					doc = &jarDocument{}
					docs[e.AggregateID] = doc
				}
				doc.Version, doc.Coins, doc.Last = e.Version, doc.Coins*3+d.Coins, append(doc.Last, e.Offset)
				continue
			}
			add(d.Owner, "coins", d.Coins)
			add(d.Owner, e.Aggregate, 1)
			add("everybody", "coins", d.Coins)
			if readstore.BucketOf(d.Owner, buckets) == number {
				c.Entries[d.Owner+"/"+e.AggregateID] = fmt.Sprint(e.Version)
			}
		}
	}
	for id, doc := range docs {
		doc.Last = doc.Last[max(0, len(doc.Last)-3):]
		text, _ := json.Marshal(doc)
		c.Documents[id] = string(text)
	}
	for key, sum := range c.Sums {
		if owner, ok := cutSuffix(key, "/coins"); ok {
			if c.Ranked["coins:gold"] == nil {
				c.Ranked["coins:gold"] = map[string]int64{}
			}
			c.Ranked["coins:gold"][owner] = sum
		}
	}
	return c
}

func cutSuffix(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || s[len(s)-len(suffix):] != suffix {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// commandAt is the last command whose events all lie below an offset, -1 for none.
func commandAt(l *sliceLog, s readstore.Source, upto int64) int64 {
	last := int64(-1)
	for _, e := range l.records[s] {
		if e.Offset < upto && e.Last {
			last = e.CommandOffset
		}
	}
	return last
}

// checkStore holds every bucket of a generation to its own checkpoints: it holds the events below them,
// each once, and nothing else. It returns what is wrong, "" for nothing.
func checkStore(store readstore.Inspector, m *ReadModel, g readstore.Generation, l *sliceLog) string {
	for n := range g.Buckets {
		got, err := store.Inspect(context.Background(), readstore.Bucket{Model: m.Name, Generation: g.ID, Number: n})
		if err != nil {
			return err.Error()
		}
		upto := map[readstore.Source]int64{}
		for s, c := range got.Checkpoints {
			upto[s] = c.Offset
			if want := commandAt(l, s, c.Offset); c.Command != want {
				return fmt.Sprintf("bucket %d: checkpoint of %s is %+v, the last whole command is %d", n, s, c, want)
			}
			if c.Generation != g.ID || c.CodeVersion != m.CodeVersion || c.TopicID != g.TopicIDs[s.Aggregate] || c.Change == "" {
				return fmt.Sprintf("bucket %d: checkpoint of %s is %+v", n, s, c)
			}
		}
		parked, err := parseParked(got.Parked)
		if err != nil {
			return err.Error()
		}
		for name, p := range parked {
			if wrong := checkParked(l, name, p, upto); wrong != "" {
				return fmt.Sprintf("bucket %d at %v: %s is parked as %+v: %s", n, upto, name, p, wrong)
			}
		}
		want := plainFold(m, l, g.Buckets, n, upto, parked)
		want.Checkpoints = got.Checkpoints
		if w, g := contentText(want), contentText(got); w != g {
			return fmt.Sprintf("bucket %d at %v:\nwant %s\ngot  %s", n, upto, w, g)
		}
	}
	return ""
}

// checkParked holds a list to the log: it begins with an event that some build cannot apply, and has all that
// follow of its aggregate, up to the checkpoint.
func checkParked(l *sliceLog, name string, p *Parked, upto map[readstore.Source]int64) string {
	aggregate, id, _ := strings.Cut(name, "/")
	s := readstore.Source{Aggregate: aggregate, Partition: p.Partition}
	var want []ParkedEvent
	for _, e := range l.records[s] {
		if e.AggregateID != id || e.Offset < p.Events[0].Offset || e.Offset >= upto[s] {
			continue
		}
		if _, late := e.Data.(Late); len(want) == 0 && !late {
			return fmt.Sprintf("it begins with %+v, which everybody can apply", e)
		}
		want = append(want, ParkedEvent{e.Offset, e.CommandOffset})
	}
	if !slices.Equal(want, p.Events) {
		return fmt.Sprintf("want %v", want)
	}
	return ""
}

func contentText(c readstore.Content) string {
	ranked := maps.Clone(c.Ranked)
	text, _ := json.Marshal([]any{c.Documents, c.Sums, c.Entries, ranked})
	return string(text)
}

// checkEnd says which checkpoint of a generation is not at the end of the log, "" for none.
func checkEnd(store readstore.Writer, m *ReadModel, g readstore.Generation, l *sliceLog) string {
	for n := range g.Buckets {
		_, checkpoints, err := store.Load(context.Background(), readstore.Bucket{Model: m.Name, Generation: g.ID, Number: n}, nil)
		if err != nil {
			return err.Error()
		}
		for s, mark := range l.marks {
			if !slices.Contains(m.Aggregates, s.Aggregate) || m.KeyedAsEvents && int(s.Partition) != n {
				continue
			}
			if checkpoints[s].Offset != mark.End {
				return fmt.Sprintf("bucket %d has %s up to %d of %d", n, s, checkpoints[s].Offset, mark.End)
			}
		}
	}
	return ""
}

// shakyStore is a memstore that can be rolled back, and that fails where it is told to.
type shakyStore struct {
	*memstore.Store
	mu sync.Mutex // guards what follows
	// history holds the applied writes in order: a store is rolled back by applying fewer of them again.
	history []readstore.Write
	// The next call fails: a load, a write that is not made, one that is, or one of whose buckets nobody
	// but the store knows that it was written.
	failLoad, failBefore, failAfter, failBucket bool
	loads                                       int
	// between, if not nil, is called once, before the next write.
	between func()
}

func newShakyStore() *shakyStore { return &shakyStore{Store: memstore.New()} }

func (s *shakyStore) Apply(ctx context.Context, writes []readstore.Write) ([]readstore.Result, error) {
	if between := s.between; between != nil {
		s.between = nil
		between()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failBefore {
		s.failBefore = false
		return nil, errWeird
	}
	results, err := s.Store.Apply(ctx, writes)
	for i := range results {
		if results[i].Applied {
			s.history = append(s.history, writes[i])
		}
	}
	if s.failAfter {
		s.failAfter = false
		return nil, errWeird
	}
	if s.failBucket && len(results) > 0 {
		s.failBucket = false
		results[0] = readstore.Result{Err: fmt.Errorf("made up: %w", readstore.ErrBroken)}
	}
	return results, err
}

func (s *shakyStore) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if s.failLoad {
		s.failLoad = false
		return nil, nil, errWeird
	}
	return s.Store.Load(ctx, b, ids)
}

func (s *shakyStore) Parked(ctx context.Context, b readstore.Bucket, names ...string) (map[string]string, readstore.Checkpoints, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if s.failLoad {
		s.failLoad = false
		return nil, nil, errWeird
	}
	return s.Store.Parked(ctx, b, names...)
}

// Catalog and UpdateCatalog are the store's of the moment.
func (s *shakyStore) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.Catalog(ctx, model)
}

func (s *shakyStore) UpdateCatalog(ctx context.Context, model string, c readstore.Catalog) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.UpdateCatalog(ctx, model, c)
}

// breakNext makes the next write break a bucket.
func (s *shakyStore) breakNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failBucket = true
}

// rollBack makes the store what it was after n writes. Catalogs stay.
func (s *shakyStore) rollBack(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := memstore.New()
	for _, model := range []*ReadModel{documents, operations} {
		c, _ := s.Store.Catalog(context.Background(), model.Name)
		c.Revision = ""
		if err := fresh.UpdateCatalog(context.Background(), model.Name, c); err != nil {
			panic(err)
		}
	}
	s.history = s.history[:n:n]
	results, err := fresh.Apply(context.Background(), s.history)
	if err != nil {
		panic(err)
	}
	for i, r := range results {
		if !r.Applied {
			panic(fmt.Sprintf("write %d of the history does not apply again", i))
		}
	}
	s.Store = fresh
}
