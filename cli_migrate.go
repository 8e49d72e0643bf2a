package ledgerline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing/kafka"
)

type rebuildMigrate struct {
	connectFlags
	outputFlag
	ToPrefix string `required:"" placeholder:"PREFIX" help:"Prefix of the topics that are copied to; make them with: provision apply."`
	DryRun   bool   `help:"Say what would be copied, and copy nothing; exit 1 if it would be refused."`
	Verify   bool   `help:"Copy nothing, compare the topics of both prefixes record by record; exit 1 if they differ."`
}

// Help is shown by --help.
func (rebuildMigrate) Help() string {
	return `Copies the events and outcomes of all aggregates from the topics of --prefix to those of --to-prefix, on the
same cluster, written anew as the newest version of their schemas. Stop every ingest of --prefix first. Killed,
it goes on where it stopped when it is run again. docs/guides/migrate.md has the switch-over step by step.`
}

// Run copies, or says what it would copy, or compares. To be interrupted is no good end: what follows must not begin.
func (v rebuildMigrate) Run(ctx context.Context, app App, p Process) error {
	err := v.run(ctx, app, p)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted: run it again, it goes on where it stopped")
	}
	return err
}

func (v rebuildMigrate) run(ctx context.Context, app App, p Process) error {
	if v.DryRun && v.Verify {
		return misuse{errors.New("--dry-run and --verify exclude each other")}
	}
	g, err := NewMigrate(ctx, app, MigrateConfig{Connection: v.connection(p), ToPrefix: v.ToPrefix, Progress: v.migrating(p, time.Now)})
	if err != nil {
		return startError(err)
	}
	defer g.Close()
	switch {
	case v.Verify:
		err = v.verify(ctx, p, g)
	case v.DryRun:
		err = v.plan(ctx, p, g)
	default:
		err = v.migrate(ctx, p, g)
	}
	if _, refused := errors.AsType[*kafka.MigrationRefusedError](err); refused {
		return misuse{err}
	}
	return err
}

// progressEvery is how often progress is told.
const progressEvery = 2 * time.Second

// migrating tells of progress on stderr.
func (v rebuildMigrate) migrating(p Process, now func() time.Time) func(done, total int64) {
	told := now()
	return func(done, total int64) {
		if now().Sub(told) < progressEvery {
			return
		}
		told = now()
		if v.Output == "json" {
			_ = json.NewEncoder(p.Stderr).Encode(map[string]any{"doing": "migrating", "done": done, "total": total}) // nobody is left to hear of an error
			return
		}
		fmt.Fprintf(p.Stderr, "migrating to prefix %q: %d of %d offsets\n", v.ToPrefix, done, total)
	}
}

func (v rebuildMigrate) migrate(ctx context.Context, p Process, g *Migrate) error {
	done, err := g.Run(ctx)
	if err != nil {
		return err
	}
	next := fmt.Sprintf("rebuild migrate --prefix %q --to-prefix %q --verify", v.Prefix, v.ToPrefix)
	if done.State == "finished" {
		return v.show(p, done, "it was finished before, nothing is copied; next: "+next)
	}
	return v.show(p, done, "all is copied; next: "+next)
}

func (v rebuildMigrate) plan(ctx context.Context, p Process, g *Migrate) error {
	plan, err := g.Plan(ctx)
	if err != nil {
		return err
	}
	line := map[string]string{
		"new": "would copy all", "begun": "was begun, would copy what is left", "finished": "was finished, would copy nothing",
	}[plan.State]
	if plan.Refusal != "" {
		line = "would be refused: " + plan.Refusal
	}
	if err := v.show(p, plan, line); err != nil || plan.Refusal == "" {
		return err
	}
	return errCheckFailed
}

func (v rebuildMigrate) show(p Process, plan kafka.MigrationPlan, line string) error {
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(plan)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FROM\tTO\tCOPIED BEFORE\tRECORDS\tOF AN EARLIER VERSION")
	for _, t := range plan.Topics {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", t.From, t.To, t.Copied, t.Records, t.Rewritten)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}

// verify prints what it finds, and returns errCheckFailed if that is a difference.
func (v rebuildMigrate) verify(ctx context.Context, p Process, g *Migrate) error {
	found, err := g.Verify(ctx)
	if err != nil {
		return err
	}
	if v.Output == "json" {
		err = json.NewEncoder(p.Stdout).Encode(found)
	} else {
		err = showMigrationCheck(p, found)
	}
	if err == nil && !found.OK() {
		err = errCheckFailed
	}
	return err
}

func showMigrationCheck(p Process, found kafka.MigrationCheck) error {
	for _, d := range found.Differences {
		fmt.Fprintln(p.Stdout, d)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FROM\tTO\tRECORDS\tCOPIES\tALIKE")
	for _, t := range found.Topics {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", t.From, t.To, t.Records, t.NewRecords, t.Alike)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.Stdout, "%d differences\n", found.Count)
	return err
}
