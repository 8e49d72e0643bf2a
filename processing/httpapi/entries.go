package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// entries lists the entries of a document, in byte order of their fields.
func (q *Queries) entries(m *processing.ReadModel) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := processing.ValidateID("id", id); err != nil {
			return malformed("invalid-id", err)
		}
		list := id + "/" + m.EntriesName
		limit, from, err := paging(r.URL.Query(), list)
		if err != nil {
			return err
		}
		var wanted, after string
		if from != nil {
			wanted, after = from.Generation, from.After
		}
		var entries []readstore.Entry
		var generation string
		err = q.read(r, m, wanted, func(ctx context.Context, g readstore.Generation) (seen, error) {
			bucket := q.bucket(m, g, id)
			generation = g.ID
			var checkpoints readstore.Checkpoints
			var err error
			entries, checkpoints, err = q.config.Store.Entries(ctx, bucket, id, after, limit+1)
			s := seen{found: len(entries) > 0, emptyOK: from != nil, at: []bucketAt{{bucket.Number, checkpoints}}}
			if err == nil && !s.found && !s.emptyOK {
				// A document without entries has an empty list; one that does not exist has none.
				var sums map[string]int64
				sums, _, err = q.config.Store.Sums(ctx, bucket, id)
				s.found = len(sums) > 0
			}
			return s, err
		})
		if err != nil {
			return err
		}
		body := page[json.RawMessage]{Items: []json.RawMessage{}}
		if len(entries) > limit {
			entries = entries[:limit]
			body.Next = cursor{Generation: generation, List: list, After: entries[limit-1].Field}.String()
		}
		for _, entry := range entries {
			body.Items = append(body.Items, json.RawMessage(entry.Value))
		}
		return writeJSON(w, q.log, http.StatusOK, body)
	}
}
