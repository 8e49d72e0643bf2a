package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/ledgerline/ledgerline/prove/history"
)

// The laws of the read side, as the report calls them.
const (
	// What the log holds and a read model does not is lost, as with the write side; extra is what a read
	// model holds and the log does not.
	extra            = "extra"
	staleReads       = "stale_reads_after_position"
	restartedAtZero  = "restarted_from_zero"
	verifyMismatches = "verify_mismatches"
	mixedReads       = "mixed_generation_reads"
	tamperedFound    = "tampered_found"
	promotedBehind   = "promoted_behind"
	// brokenGenerations are those in which a write stopped half-way.
	brokenGenerations = "broken_generations"
	floor             = "floor"
)

// readFinding is what came of judging one run of the read side.
type readFinding struct {
	*finding
	events, reads, rewinds, kills, rollbacks int
	tampered, tamperedFound                  int
}

func judgeReadRun(dir string, schemas schemas) (*readFinding, error) {
	run, err := history.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	f := &readFinding{finding: &finding{dir: dir, run: run, faults: map[string]int{}, counts: map[string]int{}}}
	faults, err := history.Faults(dir)
	if err != nil {
		return nil, err
	}
	for _, fault := range faults {
		f.faults[fault.Kind]++
	}
	for _, kind := range run.Kinds {
		if run.Kind == "read" && f.faults[kind] == 0 {
			f.broke(floor, "fault %s never struck", kind)
		}
	}
	records, err := history.Records(dir)
	if err != nil {
		return nil, err
	}
	log, err := readLog(run, records, schemas)
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", dir, err)
	}
	folded, err := fold(log)
	if err != nil {
		return nil, fmt.Errorf("folding the log of %s: %w", dir, err)
	}
	for _, events := range log.events {
		f.events += len(events)
	}
	stored, err := history.Redis(dir)
	if err != nil {
		return nil, err
	}
	f.checkStored(folded, stored)
	return f, f.checkDone(dir, folded)
}

// checkDone judges what was seen while the run went on.
func (f *readFinding) checkDone(dir string, folded *folded) error {
	reads, err := history.Reads(dir)
	if err != nil {
		return err
	}
	for _, r := range reads {
		if err := f.checkRead(folded, r); err != nil {
			return fmt.Errorf("reading what a reader of %s saw: %w", dir, err)
		}
	}
	walks, err := history.Walks(dir)
	if err != nil {
		return err
	}
	for _, w := range walks {
		if err := f.checkWalk(folded, w); err != nil {
			return fmt.Errorf("reading what a reader of %s saw: %w", dir, err)
		}
	}
	tampers, err := history.Tampers(dir)
	if err != nil {
		return err
	}
	for _, t := range tampers {
		f.checkTamper(t)
	}
	kills, err := history.Kills(dir)
	if err != nil {
		return err
	}
	for _, k := range kills {
		f.checkKill(k)
	}
	verbs, err := history.Verbs(dir)
	if err != nil {
		return err
	}
	for _, v := range verbs {
		switch {
		case v.Name == "verify" && v.Differences > 0:
			f.broke(verifyMismatches, "rebuild verify of %s, generation %s, found %d differences", v.Model, v.Generation, v.Differences)
		case v.Name == "rollback" && v.Exit == 0:
			f.rollbacks++
		}
		for key, end := range v.Ends {
			if v.Reached[key] < end {
				f.broke(promotedBehind, "generation %s of %s was promoted while %s was at %d of %d", v.Generation, v.Model, key, v.Reached[key], end)
			}
		}
	}
	rewinds, err := history.Rewinds(dir)
	f.rewinds = len(rewinds)
	return err
}

// checkKill wants the run after the kill to have gone on with the same generation, from where it was.
func (f *readFinding) checkKill(k history.Kill) {
	f.kills++
	if k.Next != k.Generation {
		f.broke(restartedAtZero, "generation %s of %s, killed at %.0f %%, was given up for %q", k.Generation, k.Model, 100*k.Share, k.Next)
		return
	}
	for key, before := range k.Before {
		if k.After[key] < before {
			f.broke(restartedAtZero, "generation %s of %s, killed at %.0f %%: checkpoint %s fell from %d to %d", k.Generation, k.Model, 100*k.Share, key, before, k.After[key])
			return
		}
	}
}

// readPosition reads a position as clients are told it: tally/partition@offset.
func readPosition(s string) (place, error) {
	_, at, ok := strings.Cut(s, "/")
	if !ok {
		return place{}, fmt.Errorf("no position: %q", s)
	}
	return readPlace(at)
}

// checkRead wants a query with a position to show the effects of that command: of a tally, a state that it
// had at that command or later; of a group, no fewer events than it had of that partition up to there, which
// is less than what there was of all.
func (f *readFinding) checkRead(folded *folded, r history.Read) error {
	f.reads++
	if r.Status != 200 && r.Status != 404 {
		return nil // it says that it cannot tell
	}
	position, err := readPosition(r.Position)
	if err != nil {
		return err
	}
	var body struct{ Version, Sum, Events int64 }
	if r.Status == 200 {
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
			return fmt.Errorf("answer %q: %w", r.Body, err)
		}
	}
	if r.Model == groupTotals {
		if want := folded.eventsUpTo(r.ID, position); body.Events < want {
			f.broke(staleReads, "%s at %.3f s: %s of %s has %d events, want %d at least to have %s", r.Processor, float64(r.At)/1e9, r.ID, r.Model, body.Events, want, r.Position)
		}
		return nil
	}
	want := folded.versionAt(r.Tally, position)
	switch {
	case want == 0:
		f.broke(lost, "position %s of %s was given to a client, and the log has no event of that command", r.Position, r.Tally)
	case body.Version < want:
		f.broke(staleReads, "%s at %.3f s: %s has version %d, want %d at least to have %s", r.Processor, float64(r.At)/1e9, r.Tally, body.Version, want, r.Position)
	case body.Version > int64(len(folded.tallies[r.Tally])) || body.Sum != folded.tallies[r.Tally][body.Version-1].sum:
		f.broke(extra, "%s at %.3f s: %s was shown as %s, which it never was", r.Processor, float64(r.At)/1e9, r.Tally, strings.TrimSpace(r.Body))
	}
	return nil
}

// folded is what the read models must hold, worked out of the log alone.
type folded struct {
	partitions int32
	// tallies are the states of each tally, by version from 1.
	tallies map[string][]state
	groups  map[string]*groupTotal
	// ends are behind the last event of each partition, commands the last command with events, -1 for none.
	ends, commands []int64
}

type state struct {
	sum int64
	// input is the command's offset, in the tally's partition.
	input int64
}

type groupTotal struct {
	events, total int64
	tallies       map[string]bool
	// inputs are the command's offset of every event, by partition and in order.
	inputs map[int32][]int64
}

// fold folds the log. It refuses one in which the write side's laws do not hold: make prove-write is theirs.
func fold(l *commandLog) (*folded, error) {
	f := &folded{partitions: l.partitions, tallies: map[string][]state{}, groups: map[string]*groupTotal{}}
	for p := range l.partitions {
		end, command := int64(0), int64(-1)
		for _, e := range l.events[p] {
			states := f.tallies[e.tally]
			if e.version != int64(len(states))+1 || home(e.tally, l.partitions) != p || e.input < command {
				return nil, fmt.Errorf("event %d of partition %d has version %d of %s and is of command %d: that is out of order", e.offset, p, e.version, e.tally, e.input)
			}
			delta := e.amount
			if e.name == "Taken" {
				delta = -delta
			}
			sum := delta
			if len(states) > 0 {
				sum += states[len(states)-1].sum
			}
			f.tallies[e.tally] = append(states, state{sum, e.input})
			f.group(groupOf(e.tally)).add(e.tally, p, e.input, delta)
			end, command = e.offset+1, e.input
		}
		f.ends, f.commands = append(f.ends, end), append(f.commands, command)
	}
	return f, nil
}

// groups is how many groups there are.
const groups = 50

// groupOf is the group of a tally: FNV-1a of 32 bits, modulo groups.
func groupOf(tally string) string {
	h := uint32(2166136261)
	for _, b := range []byte(tally) {
		h = (h ^ uint32(b)) * 16777619
	}
	return "g-" + strconv.Itoa(int(h%groups))
}

func (f *folded) group(id string) *groupTotal {
	if f.groups[id] == nil {
		f.groups[id] = &groupTotal{tallies: map[string]bool{}, inputs: map[int32][]int64{}}
	}
	return f.groups[id]
}

func (g *groupTotal) add(tally string, partition int32, input, delta int64) {
	g.events++
	g.total += delta
	g.tallies[tally] = true
	g.inputs[partition] = append(g.inputs[partition], input)
}

// versionAt is a tally's version after a command, 0 if the command has no event.
func (f *folded) versionAt(tally string, at place) int64 {
	if home(tally, f.partitions) != at.partition {
		return 0
	}
	version := int64(0)
	for i, s := range f.tallies[tally] {
		if s.input == at.offset {
			version = int64(i) + 1
		}
	}
	return version
}

// eventsUpTo counts a group's events of one partition up to a command.
func (f *folded) eventsUpTo(group string, at place) int64 {
	g := f.groups[group]
	if g == nil {
		return 0
	}
	inputs := g.inputs[at.partition]
	return int64(sort.Search(len(inputs), func(i int) bool { return inputs[i] > at.offset }))
}
