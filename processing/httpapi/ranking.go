package httpapi

import (
	"cmp"
	"context"
	"errors"
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
		var ranks []readstore.Rank
		var generation readstore.Generation
		err = q.read(r, m, wanted, func(ctx context.Context, g readstore.Generation) (seen, error) {
			generation = g
			var at map[int]readstore.Checkpoints
			var err error
			ranks, at, err = q.places(ctx, g, list, after, limit+1)
			return seen{found: len(ranks) > 0, emptyOK: true, at: at}, err
		})
		if err != nil {
			return err
		}
		var body page[any]
		if len(ranks) > limit {
			ranks = ranks[:limit]
			last := ranks[limit-1]
			body.Next = cursor{Generation: generation.ID, List: list, After: last.ID, Sum: last.Sum}.String()
		}
		if body.Items, err = q.views(r.Context(), m, generation, ranks); err != nil {
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
func (q *Queries) places(ctx context.Context, g readstore.Generation, list string, after *readstore.Rank, limit int) ([]readstore.Rank, map[int]readstore.Checkpoints, error) {
	ranks := make([][]readstore.Rank, g.Buckets)
	checkpoints := make([]readstore.Checkpoints, g.Buckets)
	err := each(ctx, g.Buckets, func(ctx context.Context, i int) error {
		var err error
		ranks[i], checkpoints[i], err = q.config.Store.Ranked(ctx, numbered(g, i), list, after, limit)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	at := make(map[int]readstore.Checkpoints, g.Buckets)
	for i, c := range checkpoints {
		at[i] = c
	}
	all := slices.Concat(ranks...)
	slices.SortFunc(all, func(a, b readstore.Rank) int {
		return cmp.Or(cmp.Compare(b.Sum, a.Sum), cmp.Compare(b.ID, a.ID))
	})
	return all[:min(limit, len(all))], at, nil
}

// views returns what HTTP shows of each ranked document, in their order.
func (q *Queries) views(ctx context.Context, m *processing.ReadModel, g readstore.Generation, ranks []readstore.Rank) ([]any, error) {
	sums := make([]map[string]int64, len(ranks))
	err := each(ctx, len(ranks), func(ctx context.Context, i int) error {
		var err error
		sums[i], _, err = q.config.Store.Sums(ctx, q.bucket(m, g, ranks[i].ID), ranks[i].ID)
		if err == nil && len(sums[i]) == 0 {
			err = fmt.Errorf("document of %s that has a place in a list has no sums: generation %s was taken away meanwhile", m.Name, g.ID)
		}
		return err
	})
	if errors.Is(err, readstore.ErrBroken) {
		return nil, brokenModel()
	}
	if err != nil {
		return nil, fmt.Errorf("reading ranked documents of %s: %w", m.Name, err)
	}
	items := make([]any, len(ranks))
	for i, rank := range ranks {
		if items[i], err = m.View(rank.ID, sums[i]); err != nil {
			return nil, fmt.Errorf("viewing document of %s: %w", m.Name, err)
		}
	}
	return items, nil
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
