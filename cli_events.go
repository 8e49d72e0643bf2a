package ledgerline

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

type rebuildEvents struct {
	connectFlags
	outputFlag
	Aggregate string `arg:"" help:"Name of the aggregate, as order."`
	ID        string `arg:"" help:"Its id."`
	After     int64  `help:"List only events after this version."`
}

// eventLine is an event as -o json prints it, one a line.
type eventLine struct {
	Version       int64           `json:"version"`
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          time.Time       `json:"time"`
	CommandID     string          `json:"command_id"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Partition     int32           `json:"partition"`
	Offset        int64           `json:"offset"`
	Data          json.RawMessage `json:"data"`
}

const eventsPage = 500

// Run lists the events.
func (v rebuildEvents) Run(ctx context.Context, app App, p Process) error {
	a, ok := app.Aggregate(v.Aggregate)
	if !ok {
		return misuse{fmt.Errorf("no aggregate %q", v.Aggregate)}
	}
	r, err := v.open(ctx, app, p, processing.HistoryName)
	if err != nil {
		return err
	}
	defer r.Close()
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	if v.Output == "table" {
		fmt.Fprintln(w, "VERSION\tTYPE\tTIME\tPARTITION@OFFSET\tDATA")
	}
	for after, last := v.After, false; !last; {
		var lines []eventLine
		if lines, last, err = r.events(ctx, a.Name, v.ID, after); err != nil {
			return err
		}
		if len(lines) == 0 && after == v.After {
			return fmt.Errorf("%s %s has no events after version %d", a.Name, v.ID, v.After)
		}
		for _, e := range lines {
			after = e.Version
			if v.Output == "json" {
				err = json.NewEncoder(p.Stdout).Encode(e)
			} else {
				_, err = fmt.Fprintf(w, "%d\t%s\t%s\t%d@%d\t%s\n", e.Version, e.Type, e.Time.Format(time.RFC3339Nano), e.Partition, e.Offset, e.Data)
			}
			if err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// events returns the next events of an aggregate, and whether they are the last.
func (r *Rebuild) events(ctx context.Context, aggregate, id string, after int64) ([]eventLine, bool, error) {
	c, err := r.store.Catalog(ctx, processing.HistoryName)
	if err != nil {
		return nil, false, err
	}
	g, ok := c.ActiveGeneration()
	if !ok {
		return nil, false, fmt.Errorf("the history has no active generation yet; is a processor running?")
	}
	places, _, _, err := processing.Places(ctx, r.store, g, aggregate, id, after, eventsPage)
	if err != nil {
		return nil, false, err
	}
	events, err := r.log.EventsAt(ctx, aggregate, places)
	if err != nil {
		return nil, false, err
	}
	lines := make([]eventLine, len(events))
	for i, e := range events {
		data, err := r.log.EventJSON(e)
		if err != nil {
			return nil, false, err
		}
		lines[i] = eventLine{Version: e.Version, ID: e.ID, Type: e.Type, Time: e.Time, CommandID: e.CommandID, CorrelationID: e.CorrelationID, Partition: e.Partition, Offset: e.Offset, Data: data}
	}
	return lines, len(lines) < eventsPage, nil
}
