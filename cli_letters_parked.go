package ledgerline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// parkedLine is an aggregate that a read model has parked, as -o json prints it.
type parkedLine struct {
	ID string `json:"id"`
	processing.ParkedAggregate
}

// parkedShown is all that waits of it in one generation, each event as this binary sees it.
type parkedShown struct {
	parkedLine
	Shown []parkedEvent `json:"shown"`
}

// parkedEvent is an event that waits: its data, or why this binary cannot decode it.
type parkedEvent struct {
	Offset  int64           `json:"offset"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Version int64           `json:"version"`
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data,omitempty"`
	Err     string          `json:"err,omitempty"`
}

// parkedRedriven is what became of it in one generation.
type parkedRedriven struct {
	ID string `json:"id"`
	processing.Redriven
	DryRun bool `json:"dry_run,omitempty"`
}

func parkedLineOf(p processing.ParkedAggregate) parkedLine {
	return parkedLine{letterID{model: p.Model, aggregate: p.Aggregate, aggregateID: p.AggregateID}.String(), p}
}

// parked lists what read models have parked; of one aggregate, or of all for "".
func (r *Rebuild) parked(ctx context.Context, aggregate string) ([]parkedLine, error) {
	var lines []parkedLine
	for _, m := range r.link.app.models() {
		list, err := processing.ListParked(ctx, r.store, m)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if aggregate == "" || p.Aggregate == aggregate {
				lines = append(lines, parkedLineOf(p))
			}
		}
	}
	return lines, nil
}

// printParked prints what is parked, as a table of its own.
func (v lettersList) printParked(p Process, lines []parkedLine) error {
	if v.Output == "json" {
		for _, one := range lines {
			if err := json.NewEncoder(p.Stdout).Encode(one); err != nil {
				return err
			}
		}
		return nil
	}
	if len(lines) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PARKED\tGENERATION\tEVENTS\tFIRST\tCAUSE")
	for _, x := range lines {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d@%d\t%s\n", printable(x.ID), x.Generation, len(x.Events), x.Partition, x.Events[0].Offset, printable(x.Cause))
	}
	return w.Flush()
}

// parkedAs returns what waits under an id, by generation.
func (r *Rebuild) parkedAs(ctx context.Context, id letterID) ([]parkedLine, error) {
	m, err := r.link.app.ReadModel(id.model)
	if err != nil {
		return nil, misuse{err}
	}
	list, err := processing.ListParked(ctx, r.store, m)
	var found []parkedLine
	for _, p := range list {
		if p.Aggregate == id.aggregate && p.AggregateID == id.aggregateID {
			found = append(found, parkedLineOf(p))
		}
	}
	if err == nil && len(found) == 0 {
		err = misuse{fmt.Errorf("%s is not parked; see: rebuild dead-letters list", id)}
	}
	return found, err
}

// maxShown is how many of an aggregate's events show prints.
const maxShown = 100

// showParked prints all of what waits under an id.
func (v lettersShow) showParked(ctx context.Context, p Process, r *Rebuild) error {
	found, err := r.parkedAs(ctx, v.ID)
	if err != nil {
		return err
	}
	for _, one := range found {
		x := parkedShown{parkedLine: one}
		var places []processing.Place
		for _, e := range one.Events[:min(len(one.Events), maxShown)] {
			places = append(places, processing.Place{Partition: one.Partition, Offset: e.Offset})
		}
		events, err := r.log.EventsAt(ctx, one.Aggregate, places)
		if err != nil {
			return err
		}
		for _, e := range events {
			shown := parkedEvent{Offset: e.Offset, ID: e.ID, Type: e.Type, Version: e.Version, Time: e.Time}
			if shown.Data, err = r.log.EventJSON(e); err != nil {
				shown.Err = err.Error()
			}
			x.Shown = append(x.Shown, shown)
		}
		if err := v.printParked(p, x); err != nil {
			return err
		}
	}
	return nil
}

func (v lettersShow) printParked(p Process, x parkedShown) error {
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(x)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\ngeneration\t%s\nevents\t%d, in %d buckets\ncause\t%s\n", printable(x.ID), x.Generation, len(x.Events), x.Buckets, printable(x.Cause))
	for _, e := range x.Shown {
		text := string(e.Data)
		if e.Err != "" {
			text = e.Err
		}
		fmt.Fprintf(w, "event %d@%d\t%s, version %d: %s\n", x.Partition, e.Offset, printable(e.Type), e.Version, printable(text))
	}
	if more := len(x.Events) - len(x.Shown); more > 0 {
		fmt.Fprintf(w, "\tand %d more\n", more)
	}
	return w.Flush()
}

// redriveParked applies what is parked under the ids, in their order, and returns errCheckFailed if any of it
// still waits.
func (v lettersRedrive) redriveParked(ctx context.Context, p Process, r *Rebuild, ids []letterID) error {
	var failed error
	for _, id := range ids {
		m, err := r.link.app.ReadModel(id.model)
		if err != nil {
			return misuse{err}
		}
		list, err := processing.Redrive(ctx, processing.RedriveConfig{Model: m, Store: r.store, Events: r.log, Aggregate: id.aggregate, ID: id.aggregateID, DryRun: v.DryRun})
		if errors.Is(err, processing.ErrNotParked) {
			return misuse{fmt.Errorf("%w; see: rebuild dead-letters list", err)}
		}
		if err != nil {
			return err
		}
		for _, done := range list {
			if done.Left > 0 {
				failed = errCheckFailed
			}
			if err := v.printRedriven(p, parkedRedriven{id.String(), done, v.DryRun}); err != nil {
				return err
			}
		}
	}
	return failed
}

func (v lettersRedrive) printRedriven(p Process, x parkedRedriven) error {
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(x)
	}
	applied := "applied"
	if x.DryRun {
		applied = "would be applied"
	}
	line := fmt.Sprintf("%s in generation %s: events that %s: %d", printable(x.ID), x.Generation, applied, x.Applied)
	if x.Left > 0 {
		line += fmt.Sprintf("; that wait: %d, since %s", x.Left, printable(x.Cause))
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}
