package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
	"github.com/ledgerline/ledgerline/prove/topics"
)

// rebuild has each model built by a job that is killed once or twice, then verified, promoted and rolled back.
func (r *run) rebuild(ctx context.Context, chance *rand.Rand) error {
	for _, m := range models {
		built, err := r.killedBuilds(ctx, chance, m)
		if err != nil {
			return err
		}
		for _, args := range [][]string{{"verify", m.name, built}, {"promote", m.name, built}, {"rollback", m.name}} {
			if err := r.verb(ctx, m, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// call is a running rebuild binary.
type call struct {
	*process.Process
	at     int64
	output string
}

func (r *run) call(args ...string) (call, error) {
	r.verbs++
	c := call{at: r.now(), output: filepath.Join(r.cfg.dir, fmt.Sprintf("rebuild-%03d-%s.log", r.verbs, args[0]))}
	var err error
	c.Process, err = process.Start(c.output, r.now, filepath.Join(r.cfg.dir, "rebuild"), append(append(args, "-o", "json"), r.connect()...)...)
	return c, err
}

// answer reads the object that the binary printed last: before it, there is one now and then on how far it is.
func (c call) answer(into any) error {
	text, err := os.ReadFile(c.output)
	if err != nil {
		return err
	}
	var last []byte
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("{")) {
			last = line
		}
	}
	if last == nil {
		return fmt.Errorf("%s has no line of JSON", c.output)
	}
	return json.Unmarshal(last, into)
}

// verb has the binary do something to its end, and writes that down. That it fails is no error.
func (r *run) verb(ctx context.Context, m model, args ...string) error {
	c, err := r.call(args...)
	if err != nil {
		return err
	}
	select {
	case <-c.Ended:
	case <-ctx.Done():
		c.End()
		return ctx.Err()
	}
	v := history.Verb{At: c.at, Return: c.Died, Name: args[0], Model: m.name, Exit: c.Cmd.ProcessState.ExitCode(), Said: c.LastLine()}
	if len(args) > 2 {
		v.Generation = args[2]
	}
	if v.Name == "verify" {
		var found struct {
			Count int64 `json:"count"`
		}
		if err := c.answer(&found); err == nil {
			v.Differences = found.Count
		}
	}
	r.out.Verb(v)
	r.say("rebuild %s: exit %d: %s", strings.Join(args, " "), v.Exit, v.Said)
	return nil
}

// killedBuilds kills one or two jobs that build a generation, lets the next one end, and returns what it built.
func (r *run) killedBuilds(ctx context.Context, chance *rand.Rand, m model) (string, error) {
	var last *history.Kill
	deadline := r.now() + int64(patience)
	for left := 1 + chance.IntN(2); ; {
		share := 0.01 + 0.98*chance.Float64()
		if left == 0 {
			share = 2 // never
		}
		b, err := r.build(ctx, m, share, last)
		if err != nil {
			return "", err
		}
		if b.busy { // until the lease of the one that was killed ends
			if r.now() > deadline || !pause(ctx, 2*time.Second) {
				return "", fmt.Errorf("building %s: the one that was killed has its lease still", m.name)
			}
			continue
		}
		if last != nil {
			last.Next = b.generation
			r.out.Kill(*last)
		}
		if !b.killed {
			return b.generation, nil
		}
		left--
		before, err := r.store.checkpoints(ctx, m, b.found)
		if err != nil {
			return "", err
		}
		last = &history.Kill{At: b.at, Model: m.name, Generation: b.generation, Share: b.share, Before: before, After: maps.Clone(before)}
		r.fault(rebuildKill, fmt.Sprintf("%s %s at %.0f %%", m.name, b.generation, 100*b.share), b.at)
	}
}

// built is what became of one job.
type built struct {
	generation string
	found      generation
	share      float64
	at         int64
	killed     bool
	// busy says that the job found another one's lease.
	busy bool
}

// build runs a job, and kills it once its generation has a share of the log. The checkpoints of what was
// killed before are watched meanwhile.
func (r *run) build(ctx context.Context, m model, share float64, last *history.Kill) (built, error) {
	ends, err := topics.Ends(ctx, r.stack, eventsTopic)
	if err != nil {
		return built{}, err
	}
	c, err := r.call("run", m.name)
	if err != nil {
		return built{}, err
	}
	var b built
	for c.Alive() && pause(ctx, 2*time.Millisecond) {
		now, err := r.store.catalog(ctx, m)
		if err != nil {
			return b, err
		}
		if last != nil {
			if err := r.lower(ctx, m, now.generations[last.Generation], last); err != nil {
				return b, err
			}
		}
		b.found = builtBy(now, c.Cmd.Process.Pid)
		if b.found.ID == "" {
			continue
		}
		b.generation = b.found.ID
		at, err := r.store.checkpoints(ctx, m, b.found)
		if err != nil {
			return b, err
		}
		if b.share = m.share(at, b.found.Buckets, ends); b.share >= share {
			b.at = r.now()
			c.End()
			b.killed = c.Cmd.ProcessState.ExitCode() < 0
			return b, nil
		}
	}
	if ctx.Err() != nil {
		c.End()
		return b, ctx.Err()
	}
	<-c.Ended
	if c.Cmd.ProcessState.ExitCode() != 0 {
		b.busy = strings.Contains(c.LastLine(), "another process is building")
		if !b.busy {
			return b, fmt.Errorf("building %s: %s: %s", m.name, c.Cmd.ProcessState, c.LastLine())
		}
		return b, nil
	}
	var g generation
	if err := c.answer(&g); err != nil {
		return b, fmt.Errorf("building %s: %w", m.name, err)
	}
	b.generation = g.ID
	r.out.Verb(history.Verb{At: c.at, Return: c.Died, Name: "run", Model: m.name, Generation: g.ID, Said: c.LastLine()})
	return b, nil
}

// lower keeps the lowest checkpoints that are seen of what was killed.
func (r *run) lower(ctx context.Context, m model, g generation, last *history.Kill) error {
	if g.ID == "" { // it is gone: so are its checkpoints
		clear(last.After)
		return nil
	}
	at, err := r.store.checkpoints(ctx, m, g)
	if err != nil {
		return err
	}
	for key, offset := range last.After {
		last.After[key] = min(offset, at[key])
	}
	return nil
}

// builtBy finds the generation whose lease a process of `rebuild` holds: "rebuild <host> <pid> <random>".
func builtBy(c catalog, pid int) generation {
	for _, g := range c.generations {
		words := strings.Fields(g.Builder)
		if len(words) > 2 && words[0] == "rebuild" && words[len(words)-2] == strconv.Itoa(pid) && g.State == "building" {
			return g
		}
	}
	return generation{}
}
