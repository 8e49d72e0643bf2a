package ledgerline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
)

type ingestFloor struct {
	connectFlags
	outputFlag
	RaiseTo *time.Time `placeholder:"TIME" help:"Refuse every command id of before that time, as 2026-03-01T12:00:00Z, too."`
	Reset   bool       `help:"Set it to a day ago, as when it was raised by a clock that was wrong. Commands may be decided twice whose outcome is no longer in the log."`
	Yes     bool       `help:"Change without asking."`
}

// Help is shown by --help.
func (ingestFloor) Help() string {
	return `The floor of a partition is the time below which command ids are refused as command-too-old. It rises by
itself: to a day ago, further for want of memory (--dedupe-memory) or because outcomes are missing. Without
--raise-to and --reset it is only shown. To change it, stop every ingest first.`
}

// Run shows the floors, changed before if that is asked for.
func (v ingestFloor) Run(ctx context.Context, app App, p Process) error {
	if v.RaiseTo != nil && v.Reset {
		return misuse{errors.New("--raise-to and --reset exclude each other")}
	}
	conn := v.connection(p)
	clients, err := conn.clients(app.Name)
	if err != nil {
		return startError(err)
	}
	floors, err := kafka.NewFloors(kafka.FloorsConfig{
		Client: clients.kafka, Topics: kafka.Topics{Prefix: conn.Prefix}, Aggregates: app.Aggregates, Group: app.ingestGroup(conn.Prefix),
	})
	if err != nil {
		return startError(err)
	}
	defer floors.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	list, err := floors.List(ctx)
	if err != nil {
		return brokersError(clients.kafka, err)
	}
	var question string
	switch {
	case v.Reset:
		question = fmt.Sprintf("set the floor of %d partitions to a day ago? Commands of since whose outcome is not in the log any more may be decided a second time", len(list))
	case v.RaiseTo != nil:
		question = fmt.Sprintf("raise the floor of %d partitions to %s? Commands with an id of before that are refused for ever, decided or not", len(list), v.RaiseTo.UTC().Format(time.RFC3339))
	default:
		return v.show(p, list)
	}
	if !v.Yes && !confirm(p, question) {
		return misuse{errors.New("nothing is changed; --yes changes without asking")}
	}
	if v.Reset {
		list, err = floors.Reset(ctx, time.Now().Add(-processing.KeepCommandIDs))
	} else {
		list, err = floors.Raise(ctx, *v.RaiseTo)
	}
	if errors.Is(err, kafka.ErrGroupBusy) {
		return misuse{err}
	}
	if err != nil {
		return brokersError(clients.kafka, err)
	}
	return v.show(p, list)
}

func (v ingestFloor) show(p Process, list []kafka.Floor) error {
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "nothing is decided yet: there is no floor")
		return err
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tPARTITION\tFLOOR\tLAST DECISION\tNEXT OFFSET")
	for _, f := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\n", f.Topic, f.Partition, f.Floor.Format(time.RFC3339), f.LastDecision.Format(time.RFC3339), f.Next)
	}
	return w.Flush()
}
