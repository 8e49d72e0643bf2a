package processing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ledgerline/ledgerline/readstore"
)

// Parked is what waits of an aggregate in a bucket: its first event that could not be applied there, and all
// later ones in order. It changes in the same checked write as the bucket's checkpoint; the log has the events.
type Parked struct {
	// Partition is that of the aggregate's events.
	Partition int32 `json:"partition"`
	// Cause is why the first one could not be applied, as the one said who tried last.
	Cause  string        `json:"cause"`
	Events []ParkedEvent `json:"events"`
}

// ParkedEvent is an event that waits.
type ParkedEvent struct {
	Offset int64 `json:"offset"`
	// Command is the offset of the command that it came of, -1 if that is not known.
	Command int64 `json:"command"`
}

// ParkedName is the name under which a bucket keeps what is parked of an aggregate: order/o-1.
func ParkedName(aggregate, id string) string { return aggregate + "/" + id }

// parseParked reads what a bucket keeps.
func parseParked(texts map[string]string) (map[string]*Parked, error) {
	parked := make(map[string]*Parked, len(texts))
	for name, text := range texts {
		p, err := ParseParked(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parked[name] = p
	}
	return parked, nil
}

// ParseParked reads the stored form of what is parked of one aggregate.
func ParseParked(text string) (*Parked, error) {
	p := &Parked{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("reading what is parked: %w", err)
	}
	if len(p.Events) == 0 {
		return nil, errors.New("reading what is parked: the list is empty")
	}
	return p, nil
}

// op stores what is parked under a name, or takes it away if nothing is left.
func (p *Parked) op(name string) (readstore.Op, error) {
	aggregate, id, _ := strings.Cut(name, "/")
	op := readstore.Op{Kind: readstore.SetParked, ID: id, Field: aggregate}
	if len(p.Events) == 0 {
		return op, nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return op, fmt.Errorf("encoding what is parked of %s: %w", name, err)
	}
	op.Value = string(text)
	return op, nil
}

// maxCause bounds the text of a cause, which is stored.
const maxCause = 500

func causeText(e Event, cause error) string {
	text := fmt.Sprintf("event at %s/%d@%d (%s): %v", e.Aggregate, e.Partition, e.Offset, e.Type, cause)
	return strings.ToValidUTF8(text[:min(len(text), maxCause)], "")
}

// parks reports whether the model sets aside what it cannot apply. Snapshots do not: a state without some of
// its events is none.
func (m *ReadModel) parks() bool { return !m.Snapshots }

// advance folds an event into the document of its aggregate, unless that has it already. After an error of the
// projection the document may be half changed.
func (m *ReadModel) advance(doc any, e Event) (applied bool, err error) {
	if e.Undecodable != nil {
		return false, e.Undecodable
	}
	version := versionOf(doc)
	switch {
	case e.Version <= *version:
		return false, nil
	case e.Version > *version+1:
		return false, fmt.Errorf("the document is at version %d, the event makes version %d: one in between is missing", *version, e.Version)
	}
	if err := m.fold(doc, e); err != nil {
		return false, err
	}
	*version = e.Version
	return true, nil
}

// operations projects an event.
func (m *ReadModel) operations(e Event) ([]readstore.Op, error) {
	if e.Undecodable != nil {
		return nil, e.Undecodable
	}
	return m.project(e)
}

// park sets an event aside in a bucket, behind those of its aggregate that are. cause is why it is the first.
func (r *run) park(ctx context.Context, n int, e Event, cause error) {
	name := ParkedName(e.Aggregate, e.AggregateID)
	b := r.f.buckets[n]
	p := b.parked[name]
	if p == nil {
		p = &Parked{Partition: e.Partition, Cause: causeText(e, cause)}
		b.parked[name] = p
		r.f.cfg.Log.WarnContext(ctx, "event cannot be applied, it and what follows of its aggregate is parked", "projection", r.f.model.Name,
			"generation", r.f.cfg.Generation.ID, "aggregate", e.Aggregate, "aggregate_id", e.AggregateID, "partition", e.Partition, "offset", e.Offset, "err", cause)
	}
	p.Events = append(p.Events, ParkedEvent{e.Offset, e.CommandOffset})
	r.opsOf(n).parked[name] = true
}

// parkedNames returns the names that are parked in any bucket.
func (f *Follower) parkedNames() map[string]bool {
	names := map[string]bool{}
	for _, b := range f.buckets {
		if b == nil {
			continue
		}
		for name := range b.parked {
			names[name] = true
		}
	}
	return names
}
