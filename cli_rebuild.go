package ledgerline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

type rebuildCLI struct {
	versionFlag
	Run         rebuildRun         `cmd:"" help:"Build a new generation of a read model from the beginning of the log."`
	Status      rebuildStatus      `cmd:"" help:"List generations."`
	Verify      rebuildVerify      `cmd:"" help:"Compare a generation with the log, key by key; exit 1 if they differ."`
	Promote     rebuildPromote     `cmd:"" help:"Have readers use a verified generation."`
	Rollback    rebuildRollback    `cmd:"" help:"Have readers use the generation from before the last promotion."`
	Events      rebuildEvents      `cmd:"" help:"List the events of one aggregate, read from the log."`
	DeadLetters rebuildDeadLetters `cmd:"" help:"List, show and redrive what could not be processed."`
	Prune       rebuildPrune       `cmd:"" help:"Delete generations that are neither active nor standby."`
	Migrate     rebuildMigrate     `cmd:"" help:"Copy all events and outcomes to the topics of another prefix, as the newest version of their schemas."`
}

// RunRebuild is the rebuild binary: it returns the exit code.
func RunRebuild(ctx context.Context, app App, p Process) int {
	return runCLI(ctx, "rebuild", "Builds, verifies and switches generations of read models.", &rebuildCLI{}, app, p)
}

type rebuildRun struct {
	connectFlags
	outputFlag
	Models  []string `arg:"" name:"model" help:"Names of read models, built one after the other; the first that fails ends it."`
	Promote bool     `help:"Then verify it and, if it is right, promote it."`
	DryRun  bool     `help:"Say what would be built, and build nothing; exit 1 if it would be refused."`
}

// Run builds.
func (v rebuildRun) Run(ctx context.Context, app App, p Process) error {
	for _, model := range v.Models {
		if m, err := app.ReadModel(model); err == nil && m.Snapshots && v.Promote {
			return misuse{fmt.Errorf("%s is not promoted: workers use the generation of their state version that became ready last; leave out --promote", model)}
		}
	}
	r, err := v.open(ctx, app, p, v.Models...)
	if err != nil {
		return err
	}
	defer r.Close()
	if v.DryRun {
		return v.plan(ctx, p, r)
	}
	for _, model := range v.Models {
		if err := v.build(ctx, app, p, r, model); err != nil {
			return err
		}
	}
	return nil
}

// plan prints what would be built, and returns errCheckFailed if any of it would be refused.
func (v rebuildRun) plan(ctx context.Context, p Process, r *Rebuild) error {
	refused := false
	for _, model := range v.Models {
		plan, err := r.Plan(ctx, model)
		if err != nil {
			return err
		}
		refused = refused || plan.Action == processing.PlanRefused
		if err := v.print(p, plan, planLine(plan)); err != nil {
			return err
		}
	}
	if refused {
		return errCheckFailed
	}
	return nil
}

func planLine(plan processing.Plan) string {
	would := "would make a new generation"
	switch plan.Action {
	case processing.PlanResume:
		would = fmt.Sprintf("would go on with generation %s, whose builder (%s) has gone silent", plan.Generation, plan.Builder)
	case processing.PlanRefused:
		would = "would be refused: " + plan.Refusal
	}
	return fmt.Sprintf("%s, code version %d: %s; offsets in the log: %d; generations: %d", plan.Model, plan.CodeVersion, would, plan.Offsets, plan.Generations)
}

func (v rebuildRun) build(ctx context.Context, app App, p Process, r *Rebuild, model string) error {
	g, err := r.Run(ctx, model, v.progress(p, "building", model))
	if err != nil {
		return err
	}
	if m, err := app.ReadModel(model); err == nil && m.Snapshots {
		return v.print(p, g, fmt.Sprintf("generation %s of %s is ready; workers of this state version use it once they take over a partition; next: rebuild verify %s", g.ID, model, model))
	}
	if !v.Promote {
		return v.print(p, g, fmt.Sprintf("generation %s of %s is ready; next: rebuild verify %s %s", g.ID, model, model, g.ID))
	}
	if err := verify(ctx, r, p, v.outputFlag, model, g.ID); err != nil {
		return err
	}
	if g, err = r.Promote(ctx, model, g.ID); err != nil {
		return err
	}
	return v.print(p, g, fmt.Sprintf("generation %s of %s is verified and active", g.ID, model))
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

// progressLine is a line of progress as JSON.
type progressLine struct {
	Doing           string `json:"doing"`
	Model           string `json:"model"`
	Generation      string `json:"generation"`
	Events          int64  `json:"events"`
	Done            int64  `json:"done"`
	Total           int64  `json:"total"`
	EventsPerSecond int64  `json:"events_per_second"`
	SecondsLeft     int64  `json:"seconds_left"`
}

// progress tells of progress on stderr, in lines for people or as JSON.
func (f outputFlag) progress(p Process, doing, model string) func(processing.Progress) {
	return func(g processing.Progress) {
		if f.Output == "json" {
			_ = json.NewEncoder(p.Stderr).Encode(progressLine{ // nobody is left to hear of an error
				Doing: doing, Model: model, Generation: g.Generation, Events: g.Events, Done: g.Done, Total: g.Total,
				EventsPerSecond: int64(math.Round(g.Rate)), SecondsLeft: int64(g.Left.Round(time.Second).Seconds()),
			})
			return
		}
		share := 100.0
		if g.Total > 0 {
			share = 100 * float64(g.Done) / float64(g.Total)
		}
		fmt.Fprintf(p.Stderr, "%s %s of %s: %d events, %.0f %% of the log, %.0f events/s, %s left\n", doing, g.Generation, model, g.Events, share, g.Rate, g.Left.Round(time.Second))
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
	found, err := r.Verify(ctx, model, generation, out.progress(p, "verifying", model))
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
		if found.Parked > 0 {
			fmt.Fprintf(p.Stdout, "parked aggregates, taken as they are: %d; this binary could redrive: %d; see: rebuild dead-letters list\n", found.Parked, found.Redrivable)
		}
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
	Force      bool   `help:"Promote it even if it is not verified, and say so; never one that is not ready or behind the log."`
}

// promoted is what promote prints as JSON.
type promoted struct {
	readstore.Generation
	// Overrode holds what --force overrode, "unverified" or nothing.
	Overrode []string `json:"overrode"`
}

// Run promotes.
func (v rebuildPromote) Run(ctx context.Context, app App, p Process) error {
	r, err := v.open(ctx, app, p, v.Model)
	if err != nil {
		return err
	}
	defer r.Close()
	promote := r.Promote
	if v.Force {
		promote = r.PromoteUnverified
	}
	g, err := promote(ctx, v.Model, v.Generation)
	if err != nil {
		return err
	}
	answer, line := promoted{Generation: g, Overrode: []string{}}, fmt.Sprintf("generation %s of %s is active", g.ID, v.Model)
	switch {
	case v.Force && g.VerifiedAt.IsZero():
		answer.Overrode = append(answer.Overrode, "unverified")
		line += fmt.Sprintf("; overridden: it is not verified; next: rebuild verify %s %s", v.Model, g.ID)
	case v.Force:
		line += "; nothing had to be overridden"
	}
	return v.print(p, answer, line)
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
