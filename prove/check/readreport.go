package main

import "fmt"

// readModes are all ways to break Redis.
var readModes = []string{"flushall", "kill-aof", "kill-rdb", "replica"}

// readReport is what the last line says of runs of the read side.
type readReport struct {
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
	StaleReads       int            `json:"stale_reads_after_position"`
	Rollbacks        int            `json:"rollbacks"`

	broken []string
}

func newReadReport(o options, found []*readFinding) *readReport {
	r := &readReport{RealRuns: map[string]int{}, Faults: map[string]int{}}
	floors := 0
	byLaw := map[string]*int{
		lost: &r.Lost, extra: &r.Extra, staleReads: &r.StaleReads, restartedAtZero: &r.RestartedAtZero,
		verifyMismatches: &r.VerifyMismatches, floor: &floors,
	}
	told := map[string]int{}
	for _, f := range found {
		r.RealRuns[f.run.Mode]++
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
				r.broken = append(r.broken, fmt.Sprintf("law %s is broken: %s (mode %s, seed %d, %s); again: %s", d.law, d.detail, f.run.Mode, f.run.Seed, f.dir, f.run.Again))
			}
		}
	}
	r.checkFloors(o)
	return r
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
	}{{"rewinds", r.Rewinds, o.rewinds}, {"rebuild_kills", r.RebuildKills, o.kills}, {"rollbacks", r.Rollbacks, o.rollbacks}, {"reads", r.Reads, o.reads}} {
		if one.got < one.want {
			r.broken = append(r.broken, fmt.Sprintf("law %s is broken: there were %d, want %d", one.law, one.got, one.want))
		}
	}
}
