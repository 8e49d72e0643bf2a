package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/process"
	"github.com/ledgerline/ledgerline/prove/topics"
)

// measureMemory builds each model from a log ten times, and from one ten times as long with ten times as many
// tallies once, and writes down the most resident memory that a job had, as the kernel tells it. A job's memory
// goes up and down with the garbage in it: how high it gets is a matter of how often one looks, so both are
// looked at equally long.
func (r *run) measureMemory(ctx context.Context) error {
	var found history.RebuildMemory
	sent := 0
	next := func() *kgo.Record {
		sent++
		return r.load.commandOf(fmt.Sprintf("m-%08d", sent))
	}
	const longer = 10
	for _, scale := range []int{1, longer} {
		if err := r.load.burst(ctx, scale*r.cfg.memory-sent, next); err != nil {
			return err
		}
		if err := r.decided(ctx); err != nil {
			return err
		}
		ends, err := topics.Ends(ctx, r.stack, eventsTopic)
		if err != nil {
			return err
		}
		s := history.RebuildScale{Tallies: sent}
		for _, end := range ends {
			s.Offsets += end
		}
		for _, m := range models {
			for range longer / scale {
				peak, err := r.peakOfBuild(ctx, m)
				if err != nil {
					return err
				}
				r.say("%s from %d offsets: %d MB resident at most", m.name, s.Offsets, peak>>20)
				s.PeakRSS = max(s.PeakRSS, peak)
			}
		}
		found.Scales = append(found.Scales, s)
	}
	text, err := json.Marshal(found)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.cfg.dir, "memory.json"), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing down the memory: %w", err)
	}
	return r.end(ctx)
}

// peakOfBuild runs a job to its end, and looks at its memory until then.
func (r *run) peakOfBuild(ctx context.Context, m model) (peak int64, err error) {
	c, err := r.call("run", m.name)
	if err != nil {
		return 0, err
	}
	defer c.End()
	for c.Alive() && pause(ctx, 20*time.Millisecond) {
		now, err := process.PeakRSS(c.Cmd.Process.Pid)
		if err == nil {
			peak = max(peak, now)
		} else if !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if <-c.Ended; c.Cmd.ProcessState.ExitCode() != 0 {
		return 0, fmt.Errorf("building %s: %s: %s", m.name, c.Cmd.ProcessState, c.LastLine())
	}
	return peak, nil
}
