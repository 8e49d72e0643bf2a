package ledgerline_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/readstore"
)

// halfBuilt puts a half-built generation into the catalog, the active one's like, and returns its id.
func halfBuilt(t *testing.T, l *local.Local, model string, lease time.Time) string {
	t.Helper()
	redis, key := redisClient(t, l.Connection.RedisURL), "ledgerline:{"+model+"}:generations"
	all, err := redis.HGetAll(t.Context(), key).Result()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	var g readstore.Generation
	for _, text := range all {
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			t.Fatal(err)
		}
	}
	g.ID, g.State, g.Builder, g.LeaseUntil = "20260101-000000-half", readstore.Building, "rebuild elsewhere 1", lease.UTC()
	if err := redis.HSet(t.Context(), key, g.ID, jsonText(g)).Err(); err != nil {
		t.Fatal(err)
	}
	return g.ID
}

// TestRebuildSaysWhatItWouldDo asks for plans, and sees that nothing was done; then it builds two
// models by one call and reads its progress.
func TestRebuildSaysWhatItWouldDo(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	load(t, l, 40, 4)
	models := []string{"order-status", "customer-orders"}
	type plan struct {
		Model, Action, Generation, Refusal string
		CodeVersion                        int `json:"code_version"`
		Offsets                            int64
		Generations                        int
	}
	plans := func(code int, models ...string) (all []plan) {
		t.Helper()
		args := append([]string{"run", "--dry-run"}, models...)
		before := statusOf(t, l.Connection)
		told := run(t, ledgerline.RunRebuild, l.Connection, append(args, "-o", "json")...)
		for _, line := range lines(told.stdout) {
			var one plan
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, one)
		}
		p := run(t, ledgerline.RunRebuild, l.Connection, args...)
		if told.code != code || p.code != code || len(all) != len(models) || len(lines(p.stdout)) != len(models) || p.stderr != "" {
			t.Fatalf("exit %d and %d: %s%s%s%s", told.code, p.code, told.stdout, told.stderr, p.stdout, p.stderr)
		}
		for i, one := range all {
			if said := lines(p.stdout)[i]; !strings.HasPrefix(said, one.Model+", code version 1: would ") || !strings.Contains(said, one.Generation) || !strings.HasSuffix(said, one.Refusal+"; the log holds "+itoa(int(one.Offsets))+" offsets, there are "+itoa(one.Generations)+" generations") {
				t.Errorf("as text: %s", said)
			}
		}
		if after := statusOf(t, l.Connection); !reflect.DeepEqual(after, before) {
			t.Errorf("the plan changed %v to %v", before, after)
		}
		return all
	}
	for i, got := range plans(ledgerline.ExitOK, models...) {
		if got.Offsets < 40 || got != (plan{Model: models[i], Action: "new", CodeVersion: 1, Offsets: got.Offsets, Generations: 1}) {
			t.Errorf("plan of %s: %+v", models[i], got)
		}
	}
	halfBuilt(t, l, "order-status", time.Now().Add(time.Hour))
	got := plans(ledgerline.ExitFailed, models...)
	if got[0].Action != "refused" || !strings.Contains(got[0].Refusal, "rebuild elsewhere 1") || got[0].Generations != 2 || got[1].Action != "new" {
		t.Errorf("while somebody builds: %+v", got)
	}
	half := halfBuilt(t, l, "order-status", time.Now().Add(-time.Second))
	if got := plans(ledgerline.ExitOK, "order-status"); got[0].Action != "resume" || got[0].Generation != half {
		t.Errorf("after somebody built: %+v", got)
	}

	p := run(t, ledgerline.RunRebuild, l.Connection, slices.Concat([]string{"run", "-o", "json", "--log-level", "error"}, models)...)
	built := lines(p.stdout)
	if p.code != ledgerline.ExitOK || len(built) != 2 {
		t.Fatalf("building two: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	told := map[string]string{} // the generation by model, of progress
	for _, line := range lines(p.stderr) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil || one["doing"] != "building" {
			t.Fatalf("progress %s: %v", line, err)
		}
		for _, field := range []string{"events", "done", "total", "events_per_second", "seconds_left"} {
			if n, ok := one[field].(float64); !ok || n < 0 {
				t.Errorf("progress %s: %s is not a number", line, field)
			}
		}
		told[one["model"].(string)] = one["generation"].(string)
	}
	for i, line := range built {
		var g generation
		if err := json.Unmarshal([]byte(line), &g); err != nil || g.Model != models[i] || g.State != "ready" || told[g.Model] != g.ID || (g.ID == half) != (i == 0) {
			t.Errorf("built %s, told of %s: %v", line, told[models[i]], err)
		}
	}
}

// TestPromoteForce promotes what is not verified, and reads what that overrode.
func TestPromoteForce(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	load(t, l, 20, 4)
	const model = "customer-orders"
	if p := run(t, ledgerline.RunRebuild, l.Connection, "run", model); p.code != ledgerline.ExitOK {
		t.Fatalf("exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	var id string
	for _, g := range statusOf(t, l.Connection, model) {
		if !g.Active {
			id = g.ID
		}
	}
	half := halfBuilt(t, l, model, time.Now().Add(time.Hour))
	for _, row := range []struct {
		name, generation, said string
		flags                  []string
		code                   int
		active                 bool
		overrode               []string
	}{
		{"unverified", id, "never verified; run: rebuild verify", nil, 1, false, nil},
		{"half built", half, "building, not ready", []string{"--force"}, 1, false, nil},
		{"forced", id, "overridden: it is not verified; next: rebuild verify " + model + " " + id, []string{"--force"}, 0, true, nil},
		{"forced, as JSON", id, "", []string{"--force", "-o", "json"}, 0, true, []string{"unverified"}},
		{"verify", "", "", nil, 0, true, nil},
		{"verified", id, "is active\n", nil, 0, true, nil},
		{"forced in vain", id, "nothing had to be overridden", []string{"--force"}, 0, true, nil},
		{"forced in vain, as JSON", id, "", []string{"--force", "-o", "json"}, 0, true, []string{}},
	} {
		args := append([]string{"promote", model, row.generation}, row.flags...)
		if row.generation == "" {
			args = []string{"verify", model, id}
		}
		p := run(t, ledgerline.RunRebuild, l.Connection, args...)
		if p.code != row.code || !strings.Contains(p.stdout+p.stderr, row.said) || statusOf(t, l.Connection, model)[id].Active != row.active {
			t.Fatalf("%s: exit %d: %s%s", row.name, p.code, p.stdout, p.stderr)
		}
		if row.overrode == nil {
			continue
		}
		var got struct {
			ID       string
			Overrode []string
		}
		if err := json.Unmarshal([]byte(p.stdout), &got); err != nil || got.ID != id || got.Overrode == nil || !slices.Equal(got.Overrode, row.overrode) {
			t.Errorf("%s: %s, %v", row.name, p.stdout, err)
		}
	}
}
