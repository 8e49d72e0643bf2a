package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// eventBody is an event as HTTP shows it.
type eventBody struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Version       int64           `json:"version"`
	Time          time.Time       `json:"time"`
	CommandID     string          `json:"command_id"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Data          json.RawMessage `json:"data"`
}

// eventsTimeout bounds the reading of one page's events from the log.
const eventsTimeout = 10 * time.Second

// events lists an aggregate's events in order, read from the log: ?after= a version, ?limit=.
func (q *Queries) events(m *processing.ReadModel, aggregate string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := processing.ValidateID("id", id); err != nil {
			return malformed("invalid-id", err)
		}
		limit, _, err := paging(r.URL.Query(), "")
		if err != nil {
			return err
		}
		after := int64(0)
		if text := r.URL.Query().Get("after"); text != "" {
			if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
				return malformed("invalid-parameter", &processing.FieldError{Field: "after", Reason: fmt.Sprintf("want a version from 0, got %q", text)})
			}
		}
		var places []processing.Place
		err = q.read(r, m, "", func(ctx context.Context, g readstore.Generation) (seen, error) {
			found, bucket, checkpoints, err := processing.Places(ctx, q.config.Store, g, aggregate, id, after, limit+1)
			places = found
			return seen{found: len(found) > 0, emptyOK: after > 0, at: []bucketAt{{bucket.Number, checkpoints}}}, err
		})
		if err != nil {
			return err
		}
		more := len(places) > limit
		places = places[:min(len(places), limit)]
		ctx, cancel := context.WithTimeout(r.Context(), eventsTimeout)
		defer cancel()
		events, err := q.config.Events.EventsAt(ctx, aggregate, places)
		if err != nil {
			return fmt.Errorf("reading events of %s %s: %w", aggregate, id, err)
		}
		body := page[eventBody]{Items: []eventBody{}}
		for _, e := range events {
			data, err := q.config.Events.EventJSON(e)
			if err != nil {
				return err
			}
			body.Items = append(body.Items, eventBody{ID: e.ID, Type: e.Type, Version: e.Version, Time: e.Time, CommandID: e.CommandID, CorrelationID: e.CorrelationID, Data: data})
		}
		if more {
			body.Next = strconv.FormatInt(events[len(events)-1].Version, 10)
		}
		return writeJSON(w, q.log, http.StatusOK, body)
	}
}
