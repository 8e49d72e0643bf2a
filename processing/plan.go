package processing

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// What [Build] would do.
const (
	PlanNew     = "new"     // make a generation
	PlanResume  = "resume"  // go on with one whose builder has gone silent
	PlanRefused = "refused" // nothing
)

// Plan is what [Build] would do, were it called now.
type Plan struct {
	Model       string `json:"model"`
	CodeVersion int    `json:"code_version"`
	// Action is PlanNew, PlanResume or PlanRefused.
	Action string `json:"action"`
	// Generation is the one to go on with, and Builder who has gone silent; "" unless Action is PlanResume.
	Generation string `json:"generation,omitempty"`
	Builder    string `json:"builder,omitempty"`
	// Refusal is the error of Build; "" unless Action is PlanRefused.
	Refusal string `json:"refusal,omitempty"`
	// Offsets is how many the log of the model's events holds: its events, and the ends of transactions.
	Offsets int64 `json:"offsets"`
	// Generations is how many there are, of any code version and in any state.
	Generations int `json:"generations"`
}

// PlanBuild says what Build would do. It changes nothing.
func PlanBuild(ctx context.Context, cfg RebuildConfig) (Plan, error) {
	if err := cfg.check(); err != nil {
		return Plan{}, err
	}
	p := Plan{Model: cfg.Model.Name, CodeVersion: cfg.Model.CodeVersion, Action: PlanNew}
	marks, err := cfg.Events.Marks(ctx, cfg.Model.Aggregates)
	if err != nil {
		return p, err
	}
	for _, m := range marks {
		p.Offsets += m.End - m.Start
	}
	id, err := cfg.Events.Identity(ctx)
	if err != nil {
		return p, err
	}
	c, err := cfg.Store.Catalog(ctx, cfg.Model.Name)
	if err != nil {
		return p, fmt.Errorf("reading generations of %s: %w", cfg.Model.Name, err)
	}
	p.Generations = len(c.Generations)
	g, found, refused := unfinished(c, cfg.Model, id, cfg.Now())
	if err := cmp.Or(whole(cfg.Model, marks), refused); err != nil {
		p.Action, p.Refusal = PlanRefused, err.Error()
	} else if found {
		p.Action, p.Generation, p.Builder = PlanResume, g.ID, g.Builder
	}
	return p, nil
}

// unfinished returns the generation of the model's code version and of this log whose builder has gone
// silent, the oldest if there are several. It fails with ErrBeingBuilt if a builder is at work.
func unfinished(c readstore.Catalog, m *ReadModel, id Identity, now time.Time) (found readstore.Generation, ok bool, err error) {
	for _, name := range slices.Sorted(maps.Keys(c.Generations)) {
		g := c.Generations[name]
		if g.State != readstore.Building || g.CodeVersion != m.CodeVersion {
			continue
		}
		if now.Before(g.LeaseUntil) {
			return g, false, fmt.Errorf("%w: %s, generation %s of %s", ErrBeingBuilt, g.Builder, g.ID, m.Name)
		}
		if !ok && g.ClusterID == id.ClusterID && sameTopics(m, g.TopicIDs, id.TopicIDs) {
			found, ok = g, true
		}
	}
	return found, ok, nil
}
