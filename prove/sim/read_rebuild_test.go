package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/history"
)

// rebuilds has models built, verified, promoted, rolled back and pruned until ctx ends. Jobs are killed.
func (w *readWorld) rebuilds(ctx context.Context) {
	for pauseCtx(ctx, w.between(time.Second, 9*time.Second)) {
		model, code := models[w.intN(2)], 1+w.intN(2)
		g, ok := w.killedBuilds(ctx, model, code)
		if !ok {
			continue
		}
		job := w.newReading("rebuild", code)
		w.verify(ctx, job, model, g)
		w.promote(ctx, job, model, g)
		if pauseCtx(ctx, w.between(100*time.Millisecond, 3*time.Second)) && w.intN(2) == 0 {
			w.verb(ctx, "rollback", model, "", func(ctx context.Context) error {
				_, err := processing.Rollback(ctx, job.job(model), 10*time.Second)
				return err
			})
		}
		w.prune(ctx, job, model)
		job.close()
	}
}

// promote notes what the log had at the call, and the generation after it.
func (w *readWorld) promote(ctx context.Context, job *reading, model, generation string) {
	v := history.Verb{At: w.at(), Name: "promote", Model: model, Generation: generation, Ends: history.Offsets{}}
	lost := w.redis.lost()
	adm := kadm.NewClient(w.plain())
	ends, err := endsOf(ctx, adm)
	adm.Close()
	if err != nil {
		return
	}
	_, err = processing.Promote(ctx, job.job(model), generation, false, 10*time.Second)
	if err != nil {
		v.Exit, v.Said = 1, err.Error()
	}
	all, _ := w.catalog(model)
	v.Reached = w.reached(model, all[generation])
	for key := range v.Reached {
		v.Ends[key] = endOf(ends, key)
	}
	if v.Return = w.at(); err != nil || lost != w.redis.lost() {
		v.Ends, v.Reached = nil, nil
	}
	w.hist.Verb(v)
}

// endsOf returns where the log ends for those who read what is committed.
func endsOf(ctx context.Context, adm *kadm.Client) (kadm.ListedOffsets, error) {
	ends, err := adm.ListCommittedOffsets(ctx, eventsTopic)
	if err == nil {
		err = ends.Error()
	}
	return ends, err
}

// endOf is where the log of a checkpoint's source ends.
func endOf(ends kadm.ListedOffsets, key string) int64 {
	var bucket int
	var p int32
	_, _ = fmt.Sscanf(key, "%d tally/%d", &bucket, &p)
	end, _ := ends.Lookup(eventsTopic, p)
	return end.Offset
}

// verb does something as the rebuild binary does, and writes down what came of it.
func (w *readWorld) verb(ctx context.Context, name, model, generation string, do func(context.Context) error) {
	v := history.Verb{At: w.at(), Name: name, Model: model, Generation: generation}
	if err := do(ctx); err != nil {
		v.Exit, v.Said = 1, err.Error()
	}
	v.Return = w.at()
	w.hist.Verb(v)
}

func (w *readWorld) verify(ctx context.Context, job *reading, model, generation string) processing.Verification {
	v := history.Verb{At: w.at(), Name: "verify", Model: model, Generation: generation}
	found, err := processing.Verify(ctx, job.job(model), generation)
	v.Generation, v.Differences, v.Return = found.Generation, found.Count, w.at()
	if err != nil {
		v.Exit, v.Said = 1, err.Error()
	} else if !found.OK() {
		v.Exit, v.Said = 1, found.Differences[0].String()
	}
	w.hist.Verb(v)
	return found
}

// verifier returns a job of the code version of a model's active generation.
func (w *readWorld) verifier(model string) *reading {
	all, active := w.catalog(model)
	return w.newReading("verifier", max(1, all[active].CodeVersion))
}

// verifyActive verifies the active generation at the end.
func (w *readWorld) verifyActive(model string) {
	job := w.verifier(model)
	defer job.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.verify(ctx, job, model, "active")
}

// prune deletes what nobody needs, but for what a killed job has left: the next one goes on with it.
func (w *readWorld) prune(ctx context.Context, job *reading, model string) {
	list, err := processing.Prunable(ctx, job.job(model))
	if err != nil {
		return
	}
	for _, g := range list {
		if g.State != "building" {
			_ = processing.Prune(ctx, job.job(model), g.ID, 5*time.Second)
		}
	}
}

// catalog reads a model's generations as they are now.
func (w *readWorld) catalog(model string) (found map[string]generation, active string) {
	m, found := w.redis.server(), map[string]generation{}
	fields, _ := m.HKeys(catalogKey(model, "generations"))
	for _, id := range fields {
		var g generation
		if json.Unmarshal([]byte(m.HGet(catalogKey(model, "generations"), id)), &g) == nil {
			found[id] = g
		}
	}
	active, _ = m.Get(catalogKey(model, "active"))
	return found, active
}

// reached reads a generation's checkpoints, not all as of one moment.
func (w *readWorld) reached(model string, g generation) history.Offsets {
	m, at := w.redis.server(), history.Offsets{}
	for _, key := range checkpointKeys(model, g) {
		bucket, source, _ := strings.Cut(key, " ")
		at[key] = max(0, offsetOf(m.HGet("prove:{"+model+"."+g.ID+"."+bucket+"}:checkpoints", source)))
	}
	return at
}

// killedBuilds has a job build a generation, kills it once or twice, and lets the next one end. It returns
// what was built, if it was.
func (w *readWorld) killedBuilds(ctx context.Context, model string, code int) (string, bool) {
	var last *history.Kill
	lost := 0
	for kills := w.intN(3); ctx.Err() == nil; kills-- {
		share := 2.0 // never
		if kills > 0 {
			share = 0.01 + 0.98*float64(w.intN(1000))/1000
		}
		b := w.build(ctx, model, code, share, last)
		if last != nil && b.generation != "" && lost == w.redis.lost() {
			last.Next = b.generation
			w.hist.Kill(*last)
		}
		if !b.killed {
			return b.generation, b.built
		}
		pause(100 * time.Millisecond) // for what it had sent
		lost, last = w.redis.lost(), nil
		all, active := w.catalog(model)
		// Without an active generation, processors go on with what a job has left; and of what a rewind has
		// brought back, the oldest is gone on with.
		if all[active].State == "ready" && all[b.generation].State == "building" && unfinished(all, code) == 1 {
			before := w.reached(model, all[b.generation])
			last = &history.Kill{At: w.at(), Model: model, Generation: b.generation, Share: b.share, Before: before, After: maps.Clone(before)}
		}
		w.fault("rebuild-killed", model)
		pauseCtx(ctx, processing.Lease+w.between(0, 2*time.Second))
	}
	return "", false
}

func unfinished(all map[string]generation, code int) (n int) {
	for _, g := range all {
		if g.State == "building" && g.CodeVersion == code {
			n++
		}
	}
	return n
}

// build is what became of one job.
type build struct {
	generation    string
	share         float64
	killed, built bool
}

// build runs a job, and kills it once its generation has a share of the log. The checkpoints of what was
// killed before are watched meanwhile.
func (w *readWorld) build(ctx context.Context, model string, code int, share float64, last *history.Kill) (b build) {
	adm := kadm.NewClient(w.plain())
	ends, err := endsOf(ctx, adm)
	adm.Close()
	if err != nil {
		return b
	}
	job := w.newReading("rebuild", code)
	defer job.close()
	type result struct {
		id  string
		err error
	}
	jobCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		g, err := processing.Build(jobCtx, job.job(model))
		done <- result{g.ID, err}
	}()
	for {
		select {
		case r := <-done:
			if r.err == nil {
				b.generation, b.built = r.id, true
			} else if !errors.Is(r.err, context.Canceled) {
				w.log.Info("rebuild failed", "process", job.name, "err", r.err)
			}
			return b
		case <-time.After(2 * time.Millisecond):
		}
		all, _ := w.catalog(model)
		if last != nil && all[last.Generation].ID != "" {
			for key, at := range w.reached(model, all[last.Generation]) {
				last.After[key] = min(last.After[key], at)
			}
		}
		for id, g := range all {
			if !strings.HasPrefix(g.Builder, job.name+" ") {
				continue
			}
			b.generation = id
			if b.share = shareOf(w.reached(model, g), ends); b.share >= share {
				job.brokers.sever()
				job.redis.sever()
				cancel()
				<-done
				b.killed = true
				return b
			}
		}
	}
}

// shareOf is how much of the log's offsets checkpoints have, from 0 to 1.
func shareOf(at history.Offsets, ends kadm.ListedOffsets) float64 {
	var have, want float64
	for key, offset := range at {
		end := endOf(ends, key)
		have, want = have+float64(min(offset, end)), want+float64(end)
	}
	return have / max(want, 1)
}
