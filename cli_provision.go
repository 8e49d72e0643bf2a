package ledgerline

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ledgerline/ledgerline/processing/kafka"
	"github.com/ledgerline/ledgerline/schemas"
)

type provisionCLI struct {
	versionFlag
	Apply provisionApply `cmd:"" help:"Create and change what differs; may be run again without harm."`
	Diff  provisionDiff  `cmd:"" help:"Print what apply would do."`
	Check provisionCheck `cmd:"" help:"Print what differs; exit 1 if anything does."`
}

// RunProvision is the provision binary: it returns the exit code.
func RunProvision(ctx context.Context, app App, p Process) int {
	return runCLI(ctx, "provision", "Makes topics, registers schemas and gives users their rights.", &provisionCLI{}, app, p)
}

type provisionFlags struct {
	connectFlags
	outputFlag
	Partitions        int32  `env:"LEDGERLINE_PARTITIONS" help:"Partitions of new topics, for ever (default: as the aggregate's other topics, else 12)."`
	ReplicationFactor int16  `env:"LEDGERLINE_REPLICATION_FACTOR" help:"Replicas of new topics (default: 3, or as many as there are brokers)."`
	IngestUser        string `env:"LEDGERLINE_INGEST_USER" help:"Kafka user of ingest, who is allowed what it needs (default: no rights are looked after)."`
	ProcessorUser     string `env:"LEDGERLINE_PROCESSOR_USER" help:"Kafka user of processor, who is allowed what it needs (default: no rights are looked after)."`
	RebuildUser       string `env:"LEDGERLINE_REBUILD_USER" help:"Kafka user of rebuild, who is allowed what it needs (default: no rights are looked after)."`
}

// plan opens a Provision, which the caller closes, and returns what differs.
func (f provisionFlags) plan(ctx context.Context, app App, p Process) (*Provision, []kafka.Change, error) {
	v, err := NewProvision(app, ProvisionConfig{
		Connection: f.connection(p), Partitions: f.Partitions, ReplicationFactor: f.ReplicationFactor,
		IngestUser: f.IngestUser, ProcessorUser: f.ProcessorUser, RebuildUser: f.RebuildUser,
	})
	if err != nil {
		return nil, nil, misuse{err}
	}
	changes, err := v.Plan(ctx)
	if err != nil {
		v.Close()
		return nil, nil, startError(err)
	}
	return v, changes, nil
}

func (f provisionFlags) show(p Process, changes []kafka.Change, text func(kafka.Change) string, none string) error {
	if f.Output == "json" {
		if changes == nil {
			changes = []kafka.Change{}
		}
		return json.NewEncoder(p.Stdout).Encode(changes)
	}
	for _, c := range changes {
		fmt.Fprintln(p.Stdout, text(c))
	}
	if len(changes) == 0 {
		fmt.Fprintln(p.Stdout, none)
	}
	return nil
}

type provisionApply struct{ provisionFlags }

// Run applies.
func (v provisionApply) Run(ctx context.Context, app App, p Process) error {
	pr, changes, err := v.plan(ctx, app, p)
	if err != nil {
		return err
	}
	defer pr.Close()
	if err := pr.Apply(ctx, changes); err != nil {
		return err
	}
	return v.show(p, changes, kafka.Change.Done, "nothing to do: topics, schemas and rights are as they should be")
}

type provisionDiff struct{ provisionFlags }

// Run prints the plan.
func (v provisionDiff) Run(ctx context.Context, app App, p Process) error {
	pr, changes, err := v.plan(ctx, app, p)
	if err != nil {
		return err
	}
	defer pr.Close()
	return v.show(p, changes, kafka.Change.String, "no difference")
}

type provisionCheck struct {
	provisionFlags
	Corpus string `type:"existingdir" placeholder:"DIR" help:"Check the schemas against this folder of all that were ever released, and connect to nothing."`
}

// Run prints the plan and fails if there is one.
func (v provisionCheck) Run(ctx context.Context, app App, p Process) error {
	if v.Corpus != "" {
		return v.checkCorpus(ctx, app, p)
	}
	pr, changes, err := v.plan(ctx, app, p)
	if err != nil {
		return err
	}
	defer pr.Close()
	if err := v.show(p, changes, kafka.Change.String, "no difference"); err != nil {
		return err
	}
	if len(changes) > 0 {
		return errCheckFailed
	}
	return nil
}

// corpusFinding is what provision check --corpus -o json prints.
type corpusFinding struct {
	SchemaVersions int      `json:"schema_versions"`
	Encodings      int      `json:"encodings"`
	Wrong          []string `json:"wrong"`
}

func (v provisionCheck) checkCorpus(ctx context.Context, app App, p Process) error {
	bindings, err := app.check()
	if err != nil {
		return misuse{err}
	}
	corpus, err := schemas.ReadCorpus(os.DirFS(v.Corpus))
	if err != nil {
		return misuse{err}
	}
	found := corpusFinding{Wrong: []string{}}
	for _, texts := range corpus.Versions {
		found.SchemaVersions += len(texts)
	}
	for _, e := range corpus.Encodings {
		found.Encodings += len(e.Payloads)
	}
	for _, wrong := range corpus.Check(ctx, bindings...) {
		found.Wrong = append(found.Wrong, wrong.Error())
	}
	if v.Output == "json" {
		if err := json.NewEncoder(p.Stdout).Encode(found); err != nil {
			return err
		}
	} else {
		for _, wrong := range found.Wrong {
			fmt.Fprintln(p.Stdout, wrong)
		}
		fmt.Fprintf(p.Stdout, "%d versions of schemas, %d records: %d differences\n", found.SchemaVersions, found.Encodings, len(found.Wrong))
	}
	if len(found.Wrong) > 0 {
		return errCheckFailed
	}
	return nil
}
