package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

const partitions = 4

type jarDocument struct {
	processing.Document
	Name string `json:"name,omitempty"`
	Big  any    `json:"big,omitempty"`
	From string `json:"from,omitempty"`
}

type ownerView struct {
	OwnerID string `json:"owner_id"`
	Total   int64  `json:"total"`
}

func jarStatus() *processing.ReadModel {
	return processing.Documents[jarDocument]{
		Name: "jar-status", Collection: "jars", CodeVersion: 1, Aggregate: "jar",
		Fold: func(*jarDocument, processing.Event) error { return nil },
	}.Erase()
}

func ownerJars() *processing.ReadModel {
	return processing.Operations{
		Name: "owner-jars", Collection: "owners", CodeVersion: 1, Aggregates: []string{"jar"},
		Project: func(processing.Event) ([]readstore.Op, error) { return nil, nil },
		View: func(id string, sums map[string]int64) (any, error) {
			return ownerView{OwnerID: id, Total: sums["total"]}, nil
		},
		Shows:       reflect.TypeFor[ownerView](),
		EntriesName: "jars",
		Rankings:    []processing.Ranking{{Sort: "total", Parameter: "currency"}},
	}.Erase()
}

func partitionOf(id string, n int32) int32 {
	var sum int32
	for _, c := range []byte(id) {
		sum += int32(c)
	}
	return sum % n
}

// store is a memstore whose generations can be broken and whose answers can be failed.
type store struct {
	*memstore.Store

	mu     sync.Mutex
	broken map[string]bool
	fail   error
	// catalogs counts the reads of catalogs.
	catalogs int
	// loads, if not nil, is called before each Load, with how many there were since it was set.
	loads  func(n int)
	loaded int
	// sums, if not nil, is called before each Sums.
	sums func()
}

func (s *store) err(generation string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken[generation] {
		return readstore.ErrBroken
	}
	return s.fail
}

func (s *store) Catalog(ctx context.Context, model string) (readstore.Catalog, error) {
	s.mu.Lock()
	s.catalogs++
	s.mu.Unlock()
	return s.Store.Catalog(ctx, model)
}

func (s *store) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	if err := s.err(b.Generation); err != nil {
		return nil, nil, err
	}
	if s.loads != nil {
		s.loaded++
		s.loads(s.loaded)
	}
	return s.Store.Load(ctx, b, ids)
}

func (s *store) Sums(ctx context.Context, b readstore.Bucket, id string) (map[string]int64, readstore.Checkpoints, error) {
	if err := s.err(b.Generation); err != nil {
		return nil, nil, err
	}
	if s.sums != nil {
		s.sums()
	}
	return s.Store.Sums(ctx, b, id)
}

func (s *store) Ranked(ctx context.Context, b readstore.Bucket, list string, after *readstore.Rank, limit int) ([]readstore.Rank, readstore.Checkpoints, error) {
	if err := s.err(b.Generation); err != nil {
		return nil, nil, err
	}
	return s.Store.Ranked(ctx, b, list, after, limit)
}

// site is a store with queries before it.
type site struct {
	t       *testing.T
	store   *store
	queries *httpapi.Queries
	mux     *http.ServeMux
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, store: &store{Store: memstore.New(), broken: map[string]bool{}}}
	s.open()
	return s
}

// open puts new queries before the store: they remember nothing.
func (s *site) open() {
	s.t.Helper()
	queries, err := httpapi.NewQueries(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	s.queries, s.mux = queries, http.NewServeMux()
	queries.Register(s.mux)
}

func (s *site) config() httpapi.QueriesConfig {
	return httpapi.QueriesConfig{
		Models: []*processing.ReadModel{jarStatus(), ownerJars()}, Store: s.store, Partition: partitionOf,
		Partitions: func(string) int32 { return partitions }, Log: slog.New(slog.DiscardHandler),
	}
}

func buckets(model string) int {
	if model == "jar-status" {
		return partitions
	}
	return processing.DefaultBuckets
}

// catalog makes active the active generation of model; the others are ready, or gone if not named.
func (s *site) catalog(model, active string, others ...string) {
	s.t.Helper()
	c, err := s.store.Store.Catalog(context.Background(), model)
	if err != nil {
		s.t.Fatal(err)
	}
	c.Active, c.Generations = active, map[string]readstore.Generation{}
	for _, id := range append(others, active) {
		if id != "" {
			c.Generations[id] = readstore.Generation{ID: id, Model: model, State: readstore.Ready, Buckets: buckets(model)}
		}
	}
	if err := s.store.UpdateCatalog(context.Background(), model, c); err != nil {
		s.t.Fatal(err)
	}
}

// retire says that a generation of model is about to be dropped.
func (s *site) retire(model, id string) {
	s.t.Helper()
	c, err := s.store.Store.Catalog(context.Background(), model)
	if err != nil {
		s.t.Fatal(err)
	}
	g := c.Generations[id]
	g.State = readstore.Retired
	c.Generations[id] = g
	if err := s.store.UpdateCatalog(context.Background(), model, c); err != nil {
		s.t.Fatal(err)
	}
}

// apply changes one bucket and moves its checkpoint of source to command.
func (s *site) apply(b readstore.Bucket, source readstore.Source, command int64, ops ...readstore.Op) {
	s.t.Helper()
	_, checkpoints, err := s.store.Store.Load(context.Background(), b, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	from := checkpoints[source]
	if command < 0 {
		command = from.Offset
	}
	to := readstore.Checkpoint{Generation: b.Generation, CodeVersion: 1, TopicID: "t", Offset: command + 1, Command: command, Change: "c"}
	w := readstore.Write{Bucket: b, Ops: ops, Advances: []readstore.Advance{{Source: source, From: from, To: to}}}
	results, err := s.store.Apply(context.Background(), []readstore.Write{w})
	if err != nil || !results[0].Applied {
		s.t.Fatal(results, err)
	}
}

// seed changes one bucket and leaves its checkpoints of the jars as they are.
func (s *site) seed(b readstore.Bucket, ops ...readstore.Op) {
	s.t.Helper()
	s.apply(b, readstore.Source{Aggregate: "seed"}, -1, ops...)
}

func (s *site) jar(generation, id, document string) {
	number := partitionOf(id, partitions)
	s.seed(readstore.Bucket{Model: "jar-status", Generation: generation, Number: int(number)},
		readstore.Op{Kind: readstore.SetDocument, ID: id, Value: document})
}

func (s *site) owner(generation, id string, ops ...readstore.Op) {
	for i := range ops {
		ops[i].ID = id
	}
	s.seed(readstore.Bucket{Model: "owner-jars", Generation: generation, Number: readstore.BucketOf(id, processing.DefaultBuckets)}, ops...)
}

func total(sum int64) readstore.Op {
	return readstore.Op{Kind: readstore.AddSum, Field: "total", Delta: sum, Rank: "total:GBP"}
}

func (s *site) get(path string, headers ...string) *httptest.ResponseRecorder {
	return call(s.t, s.mux, http.MethodGet, path, "", headers...)
}
