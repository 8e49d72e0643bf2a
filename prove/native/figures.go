package main

import (
	"slices"
	"sync"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
)

// figures are what the run tells of itself at its end. They prove nothing: the checker works them out anew.
type figures struct {
	mu        sync.Mutex
	ops       int
	unknown   int
	faults    map[string]int
	takeovers []history.Takeover
	scalings  []history.Scaling
	exits     map[string]int
}

func (f *figures) op(a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops++
	if a.result == history.Unknown {
		f.unknown++
	}
}

func (f *figures) fault(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults == nil {
		f.faults = map[string]int{}
	}
	f.faults[kind]++
}

func (f *figures) takeover(t history.Takeover) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takeovers = append(f.takeovers, t)
}

func (f *figures) scaling(s history.Scaling) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scalings = append(f.scalings, s)
}

func (f *figures) exit(state, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exits == nil {
		f.exits = map[string]int{}
	}
	f.exits[state]++
}

// longest is the longest takeover of one death.
func (f *figures) longest(kind string, died int64) (most time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.takeovers {
		if t.Kind == kind && t.Died == died {
			most = max(most, time.Duration(t.Decided-t.Died))
		}
	}
	return most
}

// summary is the last line that a run prints.
type summary struct {
	Seed      uint64           `json:"seed"`
	Dir       string           `json:"dir"`
	Ops       int              `json:"ops"`
	Unknown   int              `json:"unknown"`
	Faults    map[string]int   `json:"faults"`
	Exits     map[string]int   `json:"exits"`
	Takeovers map[string]times `json:"takeovers"`
	Scalings  map[string]times `json:"scalings"`
}

// times are those of many partitions, in milliseconds.
type times struct {
	N   int   `json:"n"`
	P50 int64 `json:"p50_ms"`
	P99 int64 `json:"p99_ms"`
	Max int64 `json:"max_ms"`
}

func (r *run) summary() *summary {
	f := &r.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &summary{Seed: r.cfg.seed, Dir: r.cfg.dir, Ops: f.ops, Unknown: f.unknown, Faults: f.faults, Exits: f.exits}
	takeovers, scalings := map[string][]int64{}, map[string][]int64{}
	for _, t := range f.takeovers {
		takeovers[t.Kind] = append(takeovers[t.Kind], (t.Decided-t.Died)/1e6)
	}
	for _, t := range f.scalings {
		scalings[t.Kind] = append(scalings[t.Kind], t.Waited/1e6)
	}
	s.Takeovers, s.Scalings = allTimes(takeovers), allTimes(scalings)
	return s
}

func allTimes(of map[string][]int64) map[string]times {
	all := map[string]times{}
	for kind, ms := range of {
		slices.Sort(ms)
		all[kind] = times{N: len(ms), P50: quantile(ms, 0.5), P99: quantile(ms, 0.99), Max: ms[len(ms)-1]}
	}
	return all
}

// quantile is the least value that so many are not above.
func quantile(sorted []int64, q float64) int64 {
	at := int(q * float64(len(sorted)))
	if float64(at) == q*float64(len(sorted)) && at > 0 {
		at--
	}
	return sorted[at]
}
