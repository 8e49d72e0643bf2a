package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ledgerline/ledgerline/prove/history"
)

// readModes are all ways to break Redis.
var readModes = []string{"flushall", "kill-aof", "kill-rdb", "replica", "cluster"}

// readReport is what the last line says of runs of the read side.
type readReport struct {
	Seeds            int            `json:"seeds"`
	RealRuns         map[string]int `json:"real_runs"`
	Events           int            `json:"events"`
	Reads            int            `json:"reads"`
	Faults           map[string]int `json:"faults"`
	Lost             int            `json:"lost"`
	Extra            int            `json:"extra"`
	Rewinds          int            `json:"rewinds"`
	RebuildKills     int            `json:"rebuild_kills"`
	RestartedAtZero  int            `json:"restarted_from_zero"`
	VerifyMismatches int            `json:"verify_mismatches"`
	Tampered         int            `json:"tampered"`
	TamperedFound    int            `json:"tampered_found"`
	StaleReads       int            `json:"stale_reads_after_position"`
	MixedReads       int            `json:"mixed_generation_reads"`
	PromotedBehind   int            `json:"promoted_behind"`
	Broken           int            `json:"broken_generations"`
	Rollbacks        int            `json:"rollbacks"`
	RebuildRSS1      int64          `json:"rebuild_rss_mb_at_1x"`
	RebuildRSS10     int64          `json:"rebuild_rss_mb_at_10x"`
	mutantCount

	broken []string
}

func newReadReport(o options, found []*readFinding) (*readReport, error) {
	r := &readReport{RealRuns: map[string]int{}, Faults: map[string]int{}}
	floors, untampered := 0, 0
	byLaw := map[string]*int{
		lost: &r.Lost, extra: &r.Extra, staleReads: &r.StaleReads, restartedAtZero: &r.RestartedAtZero,
		verifyMismatches: &r.VerifyMismatches, mixedReads: &r.MixedReads, promotedBehind: &r.PromotedBehind, brokenGenerations: &r.Broken, tamperedFound: &untampered, floor: &floors,
	}
	simulated, told := map[string]int{}, map[string]int{}
	for _, f := range found {
		if f.run.Kind == "sim" {
			r.Seeds++
			for _, kind := range f.run.Kinds {
				simulated[kind] += f.faults[kind]
			}
		} else {
			r.RealRuns[f.run.Mode]++
		}
		r.Tampered += f.tampered
		r.TamperedFound += f.tamperedFound
		r.Events += f.events
		r.Reads += f.reads
		r.Rewinds += f.rewinds
		r.RebuildKills += f.kills
		r.Rollbacks += f.rollbacks
		for kind, n := range f.faults {
			r.Faults[kind] += n
		}
		for law, n := range f.counts {
			*byLaw[law] += n
		}
		for _, d := range f.details {
			if told[d.law]++; told[d.law] <= maxDetails {
				r.broken = append(r.broken, fmt.Sprintf("law %s is broken: %s (seed %d, %s); again: %s", d.law, d.detail, f.run.Seed, f.dir, f.run.Again))
			}
		}
	}
	r.broken = append(r.broken, belowFloor(o.floor, simulated)...)
	r.checkFloors(o)
	uncaught, err := r.readMutants(o.mutants)
	r.broken = append(r.broken, uncaught...)
	return r, errors.Join(err, r.checkMemory(o.memory))
}

// checkFloors wants as much to have happened as was asked for.
func (r *readReport) checkFloors(o options) {
	for _, mode := range readModes {
		if n := r.RealRuns[mode]; n < o.runs {
			r.broken = append(r.broken, fmt.Sprintf("law real_runs is broken: there were %d of mode %s, want %d", n, mode, o.runs))
		}
	}
	for _, one := range []struct {
		law       string
		got, want int
	}{{"rewinds", r.Rewinds, o.rewinds}, {"rebuild_kills", r.RebuildKills, o.kills}, {"rollbacks", r.Rollbacks, o.rollbacks}, {"reads", r.Reads, o.reads}, {"seeds", r.Seeds, o.seeds}} {
		if one.got < one.want {
			r.broken = append(r.broken, fmt.Sprintf("law %s is broken: there were %d, want %d", one.law, one.got, one.want))
		}
	}
}

// checkMemory wants a job on a log ten times as long to need a tenth more memory at most.
func (r *readReport) checkMemory(name string) error {
	if name == "" {
		return nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading what was measured of memory: %w", err)
	}
	var m history.RebuildMemory
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if len(m.Scales) != 2 || m.Scales[1].Offsets < 9*m.Scales[0].Offsets || m.Scales[1].Tallies != 10*m.Scales[0].Tallies {
		return fmt.Errorf("reading %s: %+v is not a log and one ten times as long", name, m)
	}
	r.RebuildRSS1, r.RebuildRSS10 = ceil(m.Scales[0].PeakRSS, 1<<20), ceil(m.Scales[1].PeakRSS, 1<<20)
	if 10*m.Scales[1].PeakRSS > 11*m.Scales[0].PeakRSS {
		r.broken = append(r.broken, fmt.Sprintf("law rebuild_rss is broken: %d MB from a log ten times as long as one from which %d MB are needed", r.RebuildRSS10, r.RebuildRSS1))
	}
	return nil
}
