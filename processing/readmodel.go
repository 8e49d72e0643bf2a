package processing

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/ledgerline/ledgerline/readstore"
)

// DefaultBuckets is how many buckets a model has that is not keyed as its events are.
const DefaultBuckets = 16

// Document is embedded by the document type of a read model that is keyed as its events are. The
// engine keeps it; a projection does not touch it.
type Document struct {
	// Version is the version of the aggregate that the document shows.
	Version int64 `json:"version"`
}

func (d *Document) document() *Document { return d }

// Documents is a projection keyed as its events are: the partition's owner folds an aggregate's
// events in order into the document of the same id. D is a struct that embeds [Document].
type Documents[D any] struct {
	// Name is the read model's, "order-status"; Collection is the HTTP resource, "orders".
	Name       string
	Collection string
	// CodeVersion is raised whenever Fold changes what it makes of the same events.
	CodeVersion int
	// Aggregate is the one whose events are folded.
	Aggregate string
	// Fold changes doc by event. It is pure but for doc; an error means that the event cannot be applied.
	Fold func(doc *D, event Event) error
}

// Erase returns p with its type parameter hidden, for an App's list.
func (p Documents[D]) Erase() *ReadModel {
	if _, ok := any(new(D)).(interface{ document() *Document }); !ok {
		panic(fmt.Sprintf("processing: read model %q: %T must embed processing.Document", p.Name, *new(D)))
	}
	m := &ReadModel{
		Name: p.Name, Collection: p.Collection, CodeVersion: p.CodeVersion, Aggregates: []string{p.Aggregate}, KeyedAsEvents: true,
		Shows:       reflect.TypeFor[D](),
		newDocument: func() any { return new(D) },
		fold:        func(doc any, e Event) error { return p.Fold(doc.(*D), e) },
	}
	m.check()
	return m
}

// Operations is a projection keyed otherwise than its events: a pure function from one event to
// operations that commute between partitions (AddSum, SetEntry).
type Operations struct {
	Name        string
	Collection  string
	CodeVersion int
	// Aggregates are those whose events are projected.
	Aggregates []string
	// Buckets is how many buckets a generation has. Defaults to DefaultBuckets.
	Buckets int
	// Project returns the operations of one event, nil for none.
	Project func(event Event) ([]readstore.Op, error)
	// View makes the document that HTTP shows of a document's sums; sums is not empty.
	View func(id string, sums map[string]int64) (any, error)
	// Shows is the type of what View returns, Entry that of an entry's JSON. They serve the description
	// of the API alone. Default to any JSON.
	Shows, Entry reflect.Type
	// EntriesName is the path element under a document where its entries are listed, "orders" in
	// /v1/customers/{id}/orders. Defaults to none.
	EntriesName string
	// Rankings names the sums that documents can be sorted by, as in ?sort=-total_spent, and the
	// query parameter that completes a ranked list's name. Defaults to none.
	Rankings []Ranking
}

// Ranking is a family of ranked lists, one per value of a query parameter.
type Ranking struct {
	// Sort is the name after the minus sign in ?sort=-total_spent.
	Sort string
	// Parameter is the query parameter, "currency", whose value completes the list's name: the list
	// of op.Rank is Sort + ":" + value, "total_spent:GBP".
	Parameter string
}

// Erase returns p in the form that an App lists.
func (p Operations) Erase() *ReadModel {
	if p.Buckets == 0 {
		p.Buckets = DefaultBuckets
	}
	m := &ReadModel{
		Name: p.Name, Collection: p.Collection, CodeVersion: p.CodeVersion, Aggregates: p.Aggregates, buckets: p.Buckets,
		View: p.View, Shows: p.Shows, Entry: p.Entry, EntriesName: p.EntriesName, Rankings: p.Rankings, project: p.Project,
	}
	m.check()
	return m
}

// ReadModel is a projection without its type parameter.
type ReadModel struct {
	Name          string
	Collection    string
	CodeVersion   int
	Aggregates    []string
	KeyedAsEvents bool
	// Snapshots says that it keeps the states of an aggregate, for workers: [Aggregate.Snapshots].
	Snapshots    bool
	View         func(id string, sums map[string]int64) (any, error)
	Shows, Entry reflect.Type
	EntriesName  string
	Rankings     []Ranking

	buckets     int
	newDocument func() any
	fold        func(doc any, event Event) error
	project     func(event Event) ([]readstore.Op, error)
}

func (m *ReadModel) check() {
	if m.Name == "" || m.Collection == "" || m.CodeVersion < 1 || len(m.Aggregates) == 0 || (m.fold == nil) == (m.project == nil) {
		panic(fmt.Sprintf("processing: read model %q: name, collection, code version from 1, aggregates and a function are required", m.Name))
	}
}

// Buckets returns how many buckets a generation has, given the partitions of its events topic.
func (m *ReadModel) Buckets(partitions int32) int {
	if m.KeyedAsEvents {
		return int(partitions)
	}
	return m.buckets
}

// decodeDocument reads a stored document; text "" is a new one.
func (m *ReadModel) decodeDocument(text string) (any, error) {
	doc := m.newDocument()
	if text == "" {
		return doc, nil
	}
	if err := json.Unmarshal([]byte(text), doc); err != nil {
		return nil, fmt.Errorf("reading document of %s: %w", m.Name, err)
	}
	return doc, nil
}

func versionOf(doc any) *int64 { return &doc.(interface{ document() *Document }).document().Version }
