package processing

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ledgerline/ledgerline/readstore"
)

// HistoryName is the read model that [History] makes.
const HistoryName = "history"

// History is the read model of where each aggregate's events are: it lists their places in the log by
// version, and the events themselves are read from there. HTTP shows them as
// /v1/{collection}/{id}/events.
func History(aggregates ...string) *ReadModel {
	return Operations{
		Name: HistoryName, Collection: HistoryName, CodeVersion: 1, Aggregates: aggregates,
		Project: func(e Event) ([]readstore.Op, error) {
			return []readstore.Op{{
				Kind: readstore.SetEntry, ID: HistoryID(e.Aggregate, e.AggregateID), Field: historyField(e.Version),
				Value: Place{Partition: e.Partition, Offset: e.Offset}.String(),
			}}, nil
		},
	}.Erase()
}

// HistoryID is the id under which an aggregate's events are listed: "order:o-1".
func HistoryID(aggregate, id string) string { return aggregate + ":" + id }

// historyField makes versions sort as they count.
func historyField(version int64) string { return fmt.Sprintf("%019d", version) }

// Place is where an event stands in its aggregate's topic of events.
type Place struct {
	Partition int32
	Offset    int64
}

// String writes the place as "3@1207".
func (p Place) String() string {
	return strconv.Itoa(int(p.Partition)) + "@" + strconv.FormatInt(p.Offset, 10)
}

// ParsePlace reads what [Place.String] writes.
func ParsePlace(text string) (Place, error) {
	partition, offset, _ := strings.Cut(text, "@")
	p, err := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if err != nil || err2 != nil || p < 0 || o < 0 {
		return Place{}, fmt.Errorf("reading place %q: want partition@offset, like 3@1207", text)
	}
	return Place{Partition: int32(p), Offset: o}, nil
}

// Places returns where up to limit events of an aggregate are, after a version, with the bucket's
// checkpoints. g is a generation of the history.
func Places(ctx context.Context, store readstore.Reader, g readstore.Generation, aggregate, id string, after int64, limit int) ([]Place, readstore.Bucket, readstore.Checkpoints, error) {
	key := HistoryID(aggregate, id)
	b := readstore.Bucket{Model: HistoryName, Generation: g.ID, Number: readstore.BucketOf(key, g.Buckets)}
	entries, checkpoints, err := store.Entries(ctx, b, key, historyField(after), limit)
	if err != nil {
		return nil, b, nil, err
	}
	places := make([]Place, len(entries))
	for i, e := range entries {
		if places[i], err = ParsePlace(e.Value); err != nil {
			return nil, b, nil, err
		}
	}
	return places, b, checkpoints, nil
}

// EventReader reads single events from the log.
type EventReader interface {
	// EventsAt returns the events at these places, in their order, those that cannot be decoded with why. A place
	// without one is an error.
	EventsAt(ctx context.Context, aggregate string, places []Place) ([]Event, error)
	// EventJSON returns an event's data as plain JSON, or why it cannot be decoded.
	EventJSON(e Event) ([]byte, error)
}
