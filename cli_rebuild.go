package ledgerline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

type rebuildCLI struct {
	versionFlag
	Run      rebuildRun      `cmd:"" help:"Build a new generation of a read model from the beginning of the log."`
	Status   rebuildStatus   `cmd:"" help:"List generations."`
	Verify   rebuildVerify   `cmd:"" help:"Compare a generation with the log, key by key; exit 1 if they differ."`
	Promote  rebuildPromote  `cmd:"" help:"Have readers use a verified generation."`
	Rollback rebuildRollback `cmd:"" help:"Have readers use the generation from before the last promotion."`
	Events   rebuildEvents   `cmd:"" help:"List the events of one aggregate, read from the log."`
	Prune    rebuildPrune    `cmd:"" help:"Delete generations that are neither active nor standby."`
}

// RunRebuild is the rebuild binary: it returns the exit code.
func RunRebuild(ctx context.Context, app App, p Process) int {
	return runCLI(ctx, "rebuild", "Builds, verifies and switches generations of read models.", &rebuildCLI{}, app, p)
}

type rebuildRun struct {
	connectFlags
	outputFlag
	Model   string `arg:"" help:"Name of the read model."`
	Promote bool   `help:"Then verify it and, if it is right, promote it."`
}

// Run builds.
func (v rebuildRun) Run(ctx context.Context, app App, p Process) error {
	if m, err := app.ReadModel(v.Model); err == nil && m.Snapshots && v.Promote {
		return misuse{fmt.Errorf("%s is not promoted: workers use the generation of their state version that became ready last; leave out --promote", v.Model)}
	}
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	g, err := r.Run(ctx, v.Model, printProgress(p.Stderr, "building"))
	if err != nil {
		return err
	}
	if m, err := app.ReadModel(v.Model); err == nil && m.Snapshots {
		return v.print(p, g, fmt.Sprintf("generation %s of %s is ready; workers of this state version use it once they take over a partition; next: rebuild verify %s", g.ID, v.Model, v.Model))
	}
	if !v.Promote {
		return v.print(p, g, fmt.Sprintf("generation %s of %s is ready; next: rebuild verify %s %s", g.ID, v.Model, v.Model, g.ID))
	}
	if err := verify(ctx, r, p, v.outputFlag, v.Model, g.ID); err != nil {
		return err
	}
	if g, err = r.Promote(ctx, v.Model, g.ID); err != nil {
		return err
	}
	return v.print(p, g, fmt.Sprintf("generation %s of %s is verified and active", g.ID, v.Model))
}

// open connects after a look at the model's name.
func (f connectFlags) open(ctx context.Context, app App, p Process, models ...string) (*Rebuild, error) {
	for _, m := range models {
		if _, err := app.ReadModel(m); err != nil {
			return nil, misuse{err}
		}
	}
	r, err := NewRebuild(ctx, app, f.connection(p))
	return r, startError(err)
}

// print prints v as JSON or the line for people.
func (f outputFlag) print(p Process, v any, line string) error {
	if f.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(v)
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}

func printProgress(w io.Writer, doing string) func(processing.Progress) {
	return func(g processing.Progress) {
		share := 100.0
		if g.Total > 0 {
			share = 100 * float64(g.Done) / float64(g.Total)
		}
		fmt.Fprintf(w, "%s %s: %d events, %.0f %% of the log, %.0f events/s, %s left\n", doing, g.Generation, g.Events, share, g.Rate, g.Left.Round(time.Second))
	}
}

type rebuildStatus struct {
	connectFlags
	outputFlag
	Models []string `arg:"" optional:"" help:"Names of read models (default: all)."`
}

// Run lists.
func (v rebuildStatus) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Models...)
	if err != nil {
		return err
	}
	defer r.Close()
	list, err := r.Status(ctx, v.Models...)
	if err != nil {
		return err
	}
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(list)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "READ MODEL\tGENERATION\tSTATE\tCODE\tBEHIND\tVERIFIED\tPROMOTED")
	for _, g := range list {
		state := string(g.State)
		switch {
		case g.Active:
			state = "active"
		case g.Standby && g.State == readstore.Ready:
			state = "standby"
		}
		behind := "unknown"
		if g.Behind >= 0 {
			behind = fmt.Sprint(g.Behind)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", g.Model, g.ID, state, g.CodeVersion, behind, when(g.VerifiedAt), when(g.PromotedAt))
	}
	return w.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type rebuildVerify struct {
	connectFlags
	outputFlag
	Model      string `arg:"" help:"Name of the read model."`
	Generation string `arg:"" optional:"" default:"active" help:"Generation to verify (default: the active one)."`
}

// Run verifies.
func (v rebuildVerify) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	return verify(ctx, r, p, v.outputFlag, v.Model, v.Generation)
}

// verify prints what it finds, and returns errCheckFailed if that is a difference.
func verify(ctx context.Context, r *Rebuild, p Process, out outputFlag, model, generation string) error {
	found, err := r.Verify(ctx, model, generation, printProgress(p.Stderr, "verifying"))
	if err != nil {
		return err
	}
	if out.Output == "json" {
		if err := json.NewEncoder(p.Stdout).Encode(found); err != nil {
			return err
		}
	} else {
		for _, d := range found.Differences {
			fmt.Fprintln(p.Stdout, d)
		}
		fmt.Fprintf(p.Stdout, "generation %s of %s: %d events folded, %d keys compared, %d differences\n", found.Generation, model, found.Events, found.Keys, found.Count)
	}
	if !found.OK() {
		return errCheckFailed
	}
	return nil
}

type rebuildPromote struct {
	connectFlags
	outputFlag
	Model      string `arg:"" help:"Name of the read model."`
	Generation string `arg:"" help:"Generation to promote."`
}

// Run promotes.
func (v rebuildPromote) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	g, err := r.Promote(ctx, v.Model, v.Generation)
	if err != nil {
		return err
	}
	return v.print(p, g, fmt.Sprintf("generation %s of %s is active", g.ID, v.Model))
}

type rebuildRollback struct {
	connectFlags
	outputFlag
	Model string `arg:"" help:"Name of the read model."`
}

// Run rolls back.
func (v rebuildRollback) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	g, err := r.Rollback(ctx, v.Model)
	if err != nil {
		return err
	}
	return v.print(p, g, fmt.Sprintf("generation %s of %s is active again", g.ID, v.Model))
}

type rebuildPrune struct {
	connectFlags
	outputFlag
	Model string        `arg:"" help:"Name of the read model."`
	Grace time.Duration `default:"10s" help:"How long readers and followers have to let go before keys are deleted (default ${default})."`
	Yes   bool          `help:"Delete without asking."`
}

// Run prunes.
func (v rebuildPrune) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	list, err := r.Prunable(ctx, v.Model)
	if err != nil {
		return err
	}
	for _, g := range list {
		fmt.Fprintf(p.Stderr, "generation %s of %s, created %s, %s\n", g.ID, v.Model, when(g.CreatedAt), g.State)
	}
	if len(list) > 0 && !v.Yes && !confirm(p, fmt.Sprintf("delete these %d generations?", len(list))) {
		return misuse{errors.New("nothing is deleted; --yes deletes without asking")}
	}
	for _, g := range list {
		if err := r.Prune(ctx, v.Model, g.ID, v.Grace); err != nil {
			return err
		}
	}
	if list == nil {
		list = []readstore.Generation{}
	}
	return v.print(p, list, fmt.Sprintf("%d generations of %s deleted", len(list), v.Model))
}

// confirm asks on stderr, and is true only for a yes on stdin.
func confirm(p Process, question string) bool {
	fmt.Fprintf(p.Stderr, "%s [y/N] ", question)
	if p.Stdin == nil {
		return false
	}
	answer, _ := bufio.NewReader(p.Stdin).ReadString('\n') // no answer is a no
	return strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")
}
