package processing

import (
	"reflect"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// TestPlanIsWhatBuildDoes asks for the plan in every case that Build tells apart, and then builds.
func TestPlanIsWhatBuildDoes(t *testing.T) {
	bothModels(t, func(t *testing.T, m *ReadModel) {
		cfg, _, l, c := rebuildOf(m, 50)
		plan := func(want Plan) {
			t.Helper()
			want.Model, want.CodeVersion = m.Name, 1
			for s, mark := range l.marks {
				for _, a := range m.Aggregates {
					if s.Aggregate == a {
						want.Offsets += mark.End - mark.Start
					}
				}
			}
			before := catalogOf(t, cfg)
			got, err := PlanBuild(t.Context(), cfg)
			if err != nil || got != want {
				t.Errorf("plan %+v, %v, want %+v", got, err, want)
			}
			if after := catalogOf(t, cfg); !reflect.DeepEqual(after, before) {
				t.Errorf("the plan changed %+v to %+v", before, after)
			}
		}
		refused := func(generations int) {
			t.Helper()
			before := catalogOf(t, cfg)
			g, err := Build(t.Context(), cfg)
			if err == nil {
				t.Fatalf("built %+v", g)
			}
			if len(before.Generations) != generations {
				t.Errorf("%d generations", len(before.Generations))
			}
			plan(Plan{Action: PlanRefused, Refusal: err.Error(), Generations: generations})
		}

		plan(Plan{Action: PlanNew})
		first := mustBuild(t, cfg)
		plan(Plan{Action: PlanNew, Generations: 1})

		begun, err := claim(t.Context(), &cfg, always)
		if err != nil || begun.ID == first.ID {
			t.Fatalf("%+v, %v", begun, err)
		}
		refused(2) // somebody builds it
		c.now = c.now.Add(Lease)
		plan(Plan{Action: PlanResume, Generation: begun.ID, Builder: begun.Builder, Generations: 2})

		end := l.marks[jar1].End
		l.marks[jar1] = Mark{Start: 3, End: end}
		refused(2) // the log's beginning is gone
		l.marks[jar1] = Mark{End: end}

		ids := l.identity.TopicIDs
		l.identity.TopicIDs = map[string]string{"jar": "recreated", "cup": "recreated"}
		plan(Plan{Action: PlanNew, Generations: 2})
		l.identity.TopicIDs = ids

		if g := mustBuild(t, cfg); g.ID != begun.ID {
			t.Errorf("built %s, want %s", g.ID, begun.ID)
		}
		plan(Plan{Action: PlanNew, Generations: 2})
	})
}

// TestOneBuilderAtWorkIsEnough has a builder at work beside one that has gone silent.
func TestOneBuilderAtWorkIsEnough(t *testing.T) {
	now := noon
	m := documents
	building := func(id string, lease time.Time, code int) readstore.Generation {
		return readstore.Generation{ID: id, State: readstore.Building, CodeVersion: code, LeaseUntil: lease, Builder: "b-" + id}
	}
	c := readstore.Catalog{Generations: map[string]readstore.Generation{}}
	for _, g := range []readstore.Generation{building("g0", now.Add(-time.Hour), 2), building("g2", now, 1), building("g1", now.Add(-time.Hour), 1)} {
		c.Generations[g.ID] = g
	}
	if g, ok, err := unfinished(c, m, Identity{}, now); err != nil || !ok || g.ID != "g1" {
		t.Errorf("%+v, %v, %v; want the oldest, g1", g, ok, err)
	}
	c.Generations["g3"] = building("g3", now.Add(time.Nanosecond), 1)
	if g, ok, err := unfinished(c, m, Identity{}, now); err == nil {
		t.Errorf("%+v, %v, want that g3 is being built", g, ok)
	}
}
