package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// Store is what queries read.
type Store interface {
	readstore.Reader
	// Catalog reads a read model's catalog; an unknown model has an empty one.
	Catalog(ctx context.Context, model string) (readstore.Catalog, error)
}

// QueriesConfig says which read models are shown and where they are.
type QueriesConfig struct {
	// Models are those shown, each under its collection. Required.
	Models []*processing.ReadModel
	// Store holds them. Required.
	Store Store
	// Partition returns the partition of an aggregate's id among so many, as producers choose it. Required.
	Partition func(id string, partitions int32) int32
	// Partitions returns how many partitions an aggregate's topics have. Required.
	Partitions func(aggregate string) int32
	// Aggregates and Events are needed for the history alone: whose events are shown under which
	// collection, and what reads them.
	Aggregates []*processing.Aggregate
	Events     processing.EventReader
	// Name is the service's, JSONSchema describes the events, both for /openapi.json. Default to
	// "ledgerline" and to events whose data is told of as any object.
	Name       string
	JSONSchema JSONSchema
	// Wait is the longest that a query waits for a position. Defaults to 5 s.
	Wait time.Duration
	// Log takes what goes wrong behind the answers. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics count requests. Defaults to nobody.
	Metrics *Metrics
	// Tracer makes a span for each request. Defaults to none.
	Tracer trace.Tracer
}

// Queries answers GET /v1/{collection}, /v1/{collection}/{id} and /v1/{collection}/{id}/{entries}
// from the active generation of each read model, and describes them at GET /openapi.json.
//
// With the header Ledgerline-Position a query waits until what it reads holds the effects of those
// commands, or answers 503 read-model-behind. Of a model keyed as its events are, only positions of
// the document's own partition can concern it; others are held at once. What If-None-Match names is
// compared after the wait: 304 says that the document has those effects and is still the same.
type Queries struct {
	config   QueriesConfig
	catalogs *catalogs
	observer *observer
	log      *slog.Logger
}

// NewQueries checks config. It fails if something required is missing, two models have one path or one
// cannot be described.
func NewQueries(config QueriesConfig) (*Queries, error) {
	if len(config.Models) == 0 || config.Store == nil || config.Partition == nil || config.Partitions == nil {
		return nil, errors.New("configuring HTTP queries: Models, Store, Partition and Partitions are required")
	}
	collections := map[string]bool{}
	for _, m := range config.Models {
		if err := processing.ValidateID("collection", m.Collection); err != nil {
			return nil, fmt.Errorf("configuring HTTP queries of %s: %w", m.Name, err)
		}
		if collections[m.Collection] {
			return nil, fmt.Errorf("configuring HTTP queries of %s: collection %s belongs to another read model: rename one", m.Name, m.Collection)
		}
		collections[m.Collection] = true
		if m.Name == processing.HistoryName {
			if config.Events == nil {
				return nil, errors.New("configuring HTTP queries of history: Events is required")
			}
			continue
		}
		if !m.KeyedAsEvents && m.View == nil {
			return nil, fmt.Errorf("configuring HTTP queries of %s: View is required", m.Name)
		}
		for _, ranking := range m.Rankings {
			if ranking.Sort == "" || ranking.Parameter == "" {
				return nil, fmt.Errorf("configuring HTTP queries of %s: a ranking needs Sort and Parameter", m.Name)
			}
		}
	}
	if config.Wait == 0 {
		config.Wait = 5 * time.Second
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	q := &Queries{config: config, catalogs: newCatalogs(config.Store), observer: newObserver(config.Metrics, config.Tracer), log: config.Log}
	for _, m := range config.Models {
		for _, result := range []string{resultHeld, resultInVain} {
			q.observer.metrics.waits.WithLabelValues(m.Name, result)
		}
	}
	if _, err := describe([]part{q.part()}); err != nil {
		return nil, fmt.Errorf("configuring HTTP queries: %w", err)
	}
	return q, nil
}

// Register adds the paths of queries to mux. Commands may be registered on the same mux; /openapi.json
// then describes both.
func (q *Queries) Register(mux *http.ServeMux) { register(mux, q.log, q.observer, q.part()) }

func (q *Queries) part() part {
	p := part{name: q.config.Name, schema: q.config.JSONSchema}
	get := func(path string, handle func(http.ResponseWriter, *http.Request) error, describe func(*document) (*huma.Operation, error)) {
		p.routes = append(p.routes, route{http.MethodGet, path, handle, describe})
	}
	for _, m := range q.config.Models {
		if m.Name == processing.HistoryName {
			for _, a := range q.config.Aggregates {
				if slices.Contains(m.Aggregates, a.Name) {
					get(root+a.Collection+"/{id}/events", q.events(m, a.Name), describeEvents(m, a))
				}
			}
			continue
		}
		document := root + m.Collection + "/{id}"
		if m.KeyedAsEvents {
			get(document, q.document(m), describeDocument(m))
		} else {
			get(document, q.sums(m), describeDocument(m))
		}
		if m.EntriesName != "" {
			get(document+"/"+m.EntriesName, q.entries(m), describeEntries(m))
		}
		if len(m.Rankings) > 0 {
			get(root+m.Collection, q.ranked(m), describeRanked(m))
		}
	}
	return p
}

// bucket returns the bucket of generation g that holds the document.
func (q *Queries) bucket(m *processing.ReadModel, g readstore.Generation, id string) readstore.Bucket {
	if m.KeyedAsEvents {
		return numbered(g, int(q.config.Partition(id, int32(g.Buckets))))
	}
	return numbered(g, readstore.BucketOf(id, g.Buckets))
}

func numbered(g readstore.Generation, number int) readstore.Bucket {
	return readstore.Bucket{Model: g.Model, Generation: g.ID, Number: number}
}

// document shows a document of a model keyed as its events are, the text as it is stored.
func (q *Queries) document(m *processing.ReadModel) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := processing.ValidateID("id", id); err != nil {
			return malformed("invalid-id", err)
		}
		var text string
		err := q.read(r, m, "", func(ctx context.Context, g readstore.Generation) (seen, error) {
			bucket := q.bucket(m, g, id)
			documents, checkpoints, err := q.config.Store.Load(ctx, bucket, []string{id})
			var found bool
			text, found = documents[id]
			return seen{found: found, at: []bucketAt{{bucket.Number, checkpoints}}}, err
		})
		if err != nil {
			return err
		}
		var document processing.Document
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return fmt.Errorf("reading stored document of %s: %w", m.Name, err)
		}
		show(w, r, q.log, document.Version, []byte(text+"\n"))
		return nil
	}
}

// sums shows the view of a document's sums.
func (q *Queries) sums(m *processing.ReadModel) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := processing.ValidateID("id", id); err != nil {
			return malformed("invalid-id", err)
		}
		var sums map[string]int64
		err := q.read(r, m, "", func(ctx context.Context, g readstore.Generation) (seen, error) {
			bucket := q.bucket(m, g, id)
			var checkpoints readstore.Checkpoints
			var err error
			sums, checkpoints, err = q.config.Store.Sums(ctx, bucket, id)
			return seen{found: len(sums) > 0, at: []bucketAt{{bucket.Number, checkpoints}}}, err
		})
		if err != nil {
			return err
		}
		view, err := m.View(id, sums)
		if err != nil {
			return fmt.Errorf("viewing document of %s: %w", m.Name, err)
		}
		body, err := encode(view)
		if err != nil {
			return err
		}
		show(w, r, q.log, 0, body)
		return nil
	}
}
