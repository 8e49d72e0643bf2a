package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// readsAtOnce bounds how many reads of one page are under way together.
const readsAtOnce = 16

// ranked lists documents by a sum, highest first, equal sums by id in descending byte order. Places
// and views are read one after the other: a view may show a newer sum than the one it is placed by.
func (q *Queries) ranked(m *processing.ReadModel) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		query := r.URL.Query()
		list, err := rankedList(m, query)
		if err != nil {
			return err
		}
		limit, from, err := paging(query, list)
		if err != nil {
			return err
		}
		var wanted string
		var after *readstore.Rank
		if from != nil {
			wanted, after = from.Generation, &readstore.Rank{ID: from.After, Sum: from.Sum}
		}
		var body page[any]
		err = q.read(r, m, wanted, func(ctx context.Context, g readstore.Generation) (seen, error) {
			ranks, placed, err := q.places(ctx, g, list, after, limit+1)
			if err != nil {
				return seen{}, err
			}
			body.Next = ""
			if len(ranks) > limit {
				ranks = ranks[:limit]
				last := ranks[limit-1]
				body.Next = cursor{Generation: g.ID, List: list, After: last.ID, Sum: last.Sum}.String()
			}
			var viewed []bucketAt
			body.Items, viewed, err = q.views(ctx, m, g, ranks)
			return seen{found: len(ranks) > 0, emptyOK: true, at: append(placed, viewed...)}, err
		})
		if err != nil {
			return err
		}
		return writeJSON(w, q.log, http.StatusOK, body)
	}
}

// rankedList returns the name of the ranked list that a query asks for.
func rankedList(m *processing.ReadModel, query url.Values) (string, error) {
	sorts := make([]string, len(m.Rankings))
	for i, ranking := range m.Rankings {
		sorts[i] = "-" + ranking.Sort
	}
	i := slices.Index(sorts, query.Get("sort"))
	if i < 0 {
		return "", badParameter("sort", "want %s, got %q", strings.Join(sorts, " or "), query.Get("sort"))
	}
	parameter := m.Rankings[i].Parameter
	value := query.Get(parameter)
	if err := processing.ValidateID(parameter, value); err != nil {
		return "", malformed("invalid-parameter", err)
	}
	return m.Rankings[i].Sort + ":" + value, nil
}

// places returns up to limit places of a list over all buckets, and every bucket's checkpoints.
func (q *Queries) places(ctx context.Context, g readstore.Generation, list string, after *readstore.Rank, limit int) ([]readstore.Rank, []bucketAt, error) {
	ranks := make([][]readstore.Rank, g.Buckets)
	at := make([]bucketAt, g.Buckets)
	err := each(ctx, g.Buckets, func(ctx context.Context, i int) error {
		var err error
		at[i].number = i
		ranks[i], at[i].checkpoints, err = q.config.Store.Ranked(ctx, numbered(g, i), list, after, limit)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	all := slices.Concat(ranks...)
	slices.SortFunc(all, func(a, b readstore.Rank) int {
		return cmp.Or(cmp.Compare(b.Sum, a.Sum), cmp.Compare(b.ID, a.ID))
	})
	return all[:min(limit, len(all))], at, nil
}

// views returns what HTTP shows of each ranked document, in their order, and the checkpoints of their buckets.
func (q *Queries) views(ctx context.Context, m *processing.ReadModel, g readstore.Generation, ranks []readstore.Rank) ([]any, []bucketAt, error) {
	items, at := make([]any, len(ranks)), make([]bucketAt, len(ranks))
	err := each(ctx, len(ranks), func(ctx context.Context, i int) error {
		id := ranks[i].ID
		bucket := q.bucket(m, g, id)
		sums, checkpoints, err := q.config.Store.Sums(ctx, bucket, id)
		if err != nil {
			return err
		}
		if len(sums) == 0 {
			return fmt.Errorf("document of %s that has a place in a list has no sums: generation %s was taken away meanwhile", m.Name, g.ID)
		}
		at[i] = bucketAt{bucket.Number, checkpoints}
		if items[i], err = m.View(id, sums); err != nil {
			return fmt.Errorf("viewing document of %s: %w", m.Name, err)
		}
		return nil
	})
	return items, at, err
}

// each calls f for 0 to n-1, at most readsAtOnce at a time, and returns after all have ended. It
// returns the first error; the others' context ends with it.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	slots := make(chan struct{}, readsAtOnce)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
