package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ledgerline/ledgerline/prove/history"
)

// report is what the last line says.
type report struct {
	Seeds            int            `json:"seeds"`
	NativeRuns       int            `json:"native_runs"`
	Commands         int            `json:"commands"`
	Faults           map[string]int `json:"faults"`
	Lost             int            `json:"lost"`
	Duplicated       int            `json:"duplicated"`
	VersionConflicts int            `json:"version_conflicts"`
	Reordered        int            `json:"reordered"`
	OutcomesMissing  int            `json:"outcomes_missing"`
	OutcomesChanged  int            `json:"outcomes_changed"`
	Misdecided       int            `json:"misdecided"`
	FencedWentOn     int            `json:"fenced_went_on"`
	Takeovers        int            `json:"takeovers"`
	RestartedP99     int64          `json:"takeover_restarted_p99_ms"`
	GoneP99          int64          `json:"takeover_gone_p99_ms"`
	Histories        int            `json:"histories"`
	Violating        int            `json:"histories_violating"`
	Aggregates       int            `json:"aggregates"`
	RSS              int64          `json:"rss_mb"`
	DedupeBytes      int64          `json:"dedupe_bytes_per_id"`
	mutantCount

	broken []string
}

// mutantCount says how many mutants there were, and how many a law found.
type mutantCount struct {
	Mutants       int `json:"mutants"`
	MutantsCaught int `json:"mutants_caught"`
}

// mutant is what became of one.
type mutant struct {
	Name   string `json:"name"`
	Caught bool   `json:"caught"`
}

func newReport(o options, found []*finding) (*report, error) {
	r := &report{Faults: map[string]int{}}
	byLaw := map[string]*int{
		lost: &r.Lost, duplicated: &r.Duplicated, versionConflicts: &r.VersionConflicts, reordered: &r.Reordered,
		outcomesMissing: &r.OutcomesMissing, outcomesChanged: &r.OutcomesChanged, misdecided: &r.Misdecided, fencedWentOn: &r.FencedWentOn,
	}
	simulated, told := map[string]int{}, map[string]int{}
	var takeovers []history.Takeover
	for _, f := range found {
		r.add(f, simulated)
		takeovers = append(takeovers, f.takeovers...)
		for law, n := range f.counts {
			if law != historiesViolating {
				*byLaw[law] += n
			}
		}
		if f.whole {
			r.Histories++
		}
		if f.counts[historiesViolating] > 0 {
			r.Violating++
		}
		for _, d := range f.details {
			if told[d.law]++; told[d.law] > maxDetails {
				continue
			}
			r.broken = append(r.broken, fmt.Sprintf("law %s is broken: %s (seed %d, %s); again: %s", d.law, d.detail, f.run.Seed, f.dir, f.run.Again))
		}
	}
	r.broken = append(r.broken, belowFloor(o.floor, simulated)...)
	r.checkTakeovers(o, takeovers)
	uncaught, err := r.readMutants(o.mutants)
	r.broken = append(r.broken, uncaught...)
	return r, errors.Join(r.checkMemory(o), err)
}

func (r *report) add(f *finding, simulated map[string]int) {
	if f.run.Kind == "native" {
		r.NativeRuns++
	} else {
		r.Seeds++
		for _, kind := range f.run.Kinds {
			simulated[kind] += f.faults[kind]
		}
	}
	r.Commands += f.commands
	for kind, n := range f.faults {
		r.Faults[kind] += n
	}
}

// belowFloor returns which kinds of faults did not strike often enough where they are simulated.
func belowFloor(floor int, struck map[string]int) (short []string) {
	for kind, n := range struck {
		if n < floor {
			short = append(short, fmt.Sprintf("law floor is broken: fault %s struck %d times, want %d", kind, n, floor))
		}
	}
	slices.Sort(short)
	return short
}

// checkTakeovers works out the 99th percentiles of takeovers beside which no broker was at fault.
func (r *report) checkTakeovers(o options, takeovers []history.Takeover) {
	var restarted, gone []int64
	for _, t := range takeovers {
		if !t.Quiet {
			continue
		}
		took := (t.Decided - t.Died) / 1e6
		if t.Kind == "restarted" {
			restarted = append(restarted, took)
		} else {
			gone = append(gone, took)
		}
	}
	r.Takeovers = len(takeovers)
	r.RestartedP99, r.GoneP99 = p99(restarted), p99(gone)
	if r.Takeovers < o.takeovers {
		r.broken = append(r.broken, fmt.Sprintf("law takeovers is broken: there were %d, want %d", r.Takeovers, o.takeovers))
	}
	if r.RestartedP99 > o.restarted {
		r.broken = append(r.broken, fmt.Sprintf("law takeover_restarted_p99_ms is broken: %d ms, at most %d", r.RestartedP99, o.restarted))
	}
	if r.GoneP99 > o.gone {
		r.broken = append(r.broken, fmt.Sprintf("law takeover_gone_p99_ms is broken: %d ms, at most %d", r.GoneP99, o.gone))
	}
}

// p99 is the nearest rank: the least value that 99 % do not exceed.
func p99(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)*99+99)/100-1]
}

const (
	maxRSS         = 400 // MB, of 1<<20 bytes as in /proc
	maxDedupeBytes = 80  // for each command id
)

// checkMemory works out what a worker needs in all, and for each command id: by how much more is on its heap
// when it starts with them than when it starts with none.
func (r *report) checkMemory(o options) error {
	name := o.memory
	if name == "" {
		return nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading what was measured of memory: %w", err)
	}
	var m history.Memory
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if len(m.Lives) != 2 || m.IDs < 1 {
		return fmt.Errorf("reading %s: it has %d lives and %d ids, want 2 and some", name, len(m.Lives), m.IDs)
	}
	r.Aggregates = m.Aggregates
	r.RSS = ceil(max(m.Lives[0].PeakRSS, m.Lives[1].PeakRSS), 1<<20)
	r.DedupeBytes = ceil(m.Lives[1].HeapAtStart-m.Lives[0].HeapAtStart, int64(m.IDs))
	if r.Aggregates < o.aggregates {
		r.broken = append(r.broken, fmt.Sprintf("law aggregates is broken: there were %d, want %d", r.Aggregates, o.aggregates))
	}
	if r.RSS > maxRSS {
		r.broken = append(r.broken, fmt.Sprintf("law rss_mb is broken: %d MB, at most %d", r.RSS, maxRSS))
	}
	if r.DedupeBytes > maxDedupeBytes {
		r.broken = append(r.broken, fmt.Sprintf("law dedupe_bytes_per_id is broken: %d, at most %d", r.DedupeBytes, maxDedupeBytes))
	}
	return nil
}

func ceil(n, by int64) int64 { return (n + by - 1) / by }

// readMutants counts the mutants of a file, and returns those that nothing caught.
func (c *mutantCount) readMutants(name string) (uncaught []string, err error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading what became of the mutants: %w", err)
	}
	defer func() { _ = f.Close() }()
	for d := json.NewDecoder(f); ; {
		var m mutant
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return uncaught, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		c.Mutants++
		if m.Caught {
			c.MutantsCaught++
		} else {
			uncaught = append(uncaught, "law mutants_caught is broken: nothing caught "+m.Name)
		}
	}
}
