package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/ledgerline/ledgerline/prove/history"
)

// The laws, as the report calls them.
const (
	lost             = "lost"
	duplicated       = "duplicated"
	versionConflicts = "version_conflicts"
	reordered        = "reordered"
	outcomesMissing  = "outcomes_missing"
	outcomesChanged  = "outcomes_changed"
	misdecided       = "misdecided"
	fencedWentOn     = "fenced_went_on"
)

// checkLog holds the log against itself: every command record is answered once, in order; versions count
// from 1; nothing is there twice.
func (f *finding) checkLog(l *commandLog) {
	answered := map[place]int{}
	for p := range l.partitions {
		before := int64(-1)
		for _, o := range l.outcomes[p] {
			at := place{p, o.input}
			answered[at]++
			switch {
			case answered[at] > 1:
				f.broke(duplicated, "command record %s has %d outcomes", at, answered[at])
			case o.input < before:
				f.broke(reordered, "partition %d: the outcome of command %d lies behind that of %d", p, o.input, before)
			}
			if l.commands[at] == nil {
				f.broke(misdecided, "outcome %d of partition %d answers a command that is not in the log", o.offset, p)
			}
			before = max(before, o.input)
		}
		before = -1
		for _, e := range l.events[p] {
			if e.input < before {
				f.broke(reordered, "partition %d: the event of command %d lies behind that of %d", p, e.input, before)
			}
			before = max(before, e.input)
		}
	}
	f.checkAnswered(l, answered)
	f.checkVersions(l)
}

// checkAnswered asks for an outcome, a copy or a dead letter of every command record.
func (f *finding) checkAnswered(l *commandLog, answered map[place]int) {
	copies := map[string]int{}
	for _, c := range l.commands {
		if c.movedFrom != "" {
			copies[c.movedFrom]++
		}
	}
	for p := range l.partitions {
		for _, c := range l.order[p] {
			misplaced := home(c.tally, l.partitions) != p
			n, what := answered[c.place], "outcome"
			switch {
			case misplaced && c.movedFrom == "":
				n, what = copies[c.String()], "copy in its own partition"
			case misplaced:
				n, what = l.letters[c.place], "dead letter"
			case c.unread != "":
				n, what = max(n, l.letters[c.place]), "outcome or dead letter"
			}
			if n == 0 {
				f.broke(outcomesMissing, "command record %s (%s of %s) has no %s", c.place, c.id, c.tally, what)
			} else if n > 1 && misplaced {
				f.broke(duplicated, "command record %s has %d times a %s", c.place, n, what)
			}
			if misplaced && answered[c.place] > 0 {
				f.broke(misdecided, "command record %s was decided in partition %d, where %s does not belong", c.place, p, c.tally)
			}
		}
	}
}

// checkVersions has the events of each tally count from 1, in one partition, none of them twice.
func (f *finding) checkVersions(l *commandLog) {
	versions, ids := map[string]int64{}, map[string]bool{}
	for p := range l.partitions {
		for _, e := range l.events[p] {
			if versions[e.tally]++; e.version != versions[e.tally] {
				f.broke(versionConflicts, "event %d of partition %d has version %d of %s, want %d", e.offset, p, e.version, e.tally, versions[e.tally])
				versions[e.tally] = e.version
			}
			if ids[e.id] {
				f.broke(duplicated, "event %d of partition %d: there is one with the id %s before it", e.offset, p, e.id)
			}
			ids[e.id] = true
			if want := home(e.tally, l.partitions); want != p {
				f.broke(misdecided, "event %d of %s lies in partition %d, want %d", e.offset, e.tally, p, want)
			}
		}
	}
}

// checkDecisions decides every command again, in the order of the outcomes, and wants the same.
func (f *finding) checkDecisions(l *commandLog) {
	events := map[key][]*event{}
	for p := range l.partitions {
		for _, e := range l.events[p] {
			events[e.key] = append(events[e.key], e)
		}
	}
	decisions := map[key]*outcome{}
	for p := range l.partitions {
		tallies := map[string]tally{}
		for _, o := range l.outcomes[p] {
			c := l.commands[place{p, o.input}]
			if c == nil {
				continue // told by checkLog
			}
			if !o.decision {
				f.checkNoDecision(l, p, c, o, decisions[o.key])
				continue
			}
			if decisions[o.key] != nil {
				f.broke(duplicated, "command %s of %s is decided at %d and at %d of partition %d", o.id, o.tally, decisions[o.key].input, o.input, p)
				tallies[o.tally] = tallies[o.tally].after(*o, c)
				continue
			}
			decisions[o.key] = o
			want, after := tallies[o.tally].decide(c)
			if got := (told{resultOf[o.status], o.code, o.version}); got != want {
				f.broke(misdecided, "command %s of %s at %s: %v, want %v", o.id, o.tally, c.place, got, want)
				after = tallies[o.tally].after(*o, c)
			}
			tallies[o.tally] = after
			f.checkEvents(c, o, events[o.key])
		}
	}
	for k, found := range events {
		if d := decisions[k]; d == nil || d.status != "ACCEPTED" {
			f.broke(duplicated, "%d events of command %s of %s, which nobody accepted", len(found), k.id, k.tally)
		}
	}
}

// checkNoDecision judges an outcome that decides nothing: it repeats a decision, or says why there is none.
func (f *finding) checkNoDecision(l *commandLog, p int32, c *command, o, decision *outcome) {
	if o.status != "FAILED" {
		switch {
		case decision == nil:
			f.broke(outcomesChanged, "the outcome at %d of partition %d repeats a decision on %s that is not before it", o.offset, p, o.id)
		case o.status != decision.status || o.code != decision.code || o.version != decision.version || o.origin != decision.input || !slices.Equal(o.events, decision.events):
			f.broke(outcomesChanged, "command %s of %s was %s %s at version %d, and a repeat is told %s %s at version %d", o.id, o.tally, decision.status, decision.code, decision.version, o.status, o.code, o.version)
		case !c.sameBody(l.commands[place{p, decision.input}]):
			f.broke(misdecided, "command %s of %s at %s is another than the one decided, and is told its outcome", o.id, o.tally, c.place)
		}
		return
	}
	switch o.code {
	case "command-too-old", "command-from-the-future", "dedupe-full":
	case "idempotency-key-reused":
		if decision == nil || c.sameBody(l.commands[place{p, decision.input}]) {
			f.broke(misdecided, "command %s of %s at %s is told that its id was used for another", o.id, o.tally, c.place)
		}
	default:
		if c.unread == "" {
			f.broke(misdecided, "command %s of %s at %s failed: %s", o.id, o.tally, c.place, o.code)
		}
	}
}

// sameBody reports whether a command says the same as another: under one id only that is a repeat.
func (c *command) sameBody(other *command) bool {
	if other == nil {
		return false
	}
	return c.name == other.name && c.amount == other.amount && c.parts == other.parts && optional(c.expected) == optional(other.expected)
}

func optional(n *int64) string {
	if n == nil {
		return "any"
	}
	return strconv.FormatInt(*n, 10)
}

// checkEvents holds the events of a decided command against its outcome.
func (f *finding) checkEvents(c *command, o *outcome, found []*event) {
	if o.status != "ACCEPTED" {
		return // events nobody accepted are told by checkDecisions
	}
	name, n := "Added", c.parts
	if c.name == "Take" {
		name, n = "Taken", 1
	}
	if int64(len(found)) < n {
		f.broke(lost, "command %s of %s is accepted with %d events, and has %d", o.id, o.tally, n, len(found))
	} else if int64(len(found)) > n {
		f.broke(duplicated, "command %s of %s is accepted with %d events, and has %d", o.id, o.tally, n, len(found))
	}
	var told []reference
	for i, e := range found {
		told = append(told, reference{e.id, e.name, e.version})
		if e.name != name || e.amount != c.amount || e.input != c.offset || e.last != (i == len(found)-1) {
			f.broke(misdecided, "event %d of command %s of %s is %+v", i, o.id, o.tally, *e)
		}
	}
	if !slices.Equal(told, o.events) {
		f.broke(lost, "the outcome of command %s of %s tells of events %v, there are %v", o.id, o.tally, o.events, told)
	}
}

// checkTold holds what clients were told against the log, and against what others were told.
func (f *finding) checkTold(l *commandLog, ops []history.Op) {
	decisions, answered := map[key]*outcome{}, map[place]bool{}
	sums := map[key]int{}
	for p := range l.partitions {
		for _, o := range l.outcomes[p] {
			answered[place{p, o.input}] = true
			if o.decision && decisions[o.key] == nil {
				decisions[o.key] = o
			}
		}
		for _, e := range l.events[p] {
			sums[e.key]++
		}
	}
	copies := map[string]*command{}
	for _, c := range l.commands {
		if c.movedFrom != "" {
			copies[c.movedFrom] = c
		}
	}
	for _, op := range ops {
		k := key{op.Tally, op.ID}
		if op.Appended {
			at := place{op.Partition, op.Offset}
			c := l.commands[at]
			if c != nil && copies[at.String()] != nil {
				c = copies[at.String()]
			}
			switch {
			case c == nil || c.key != k:
				f.broke(lost, "command %s of %s was confirmed at %s, and is not there", op.ID, op.Tally, at)
			case !answered[c.place] && l.letters[c.place] == 0:
				f.broke(lost, "command %s of %s was confirmed at %s, and has no outcome", op.ID, op.Tally, at)
			}
		}
		if op.Result != history.Accepted && op.Result != history.Refused {
			continue
		}
		d := decisions[k]
		got := told{op.Result, op.Code, op.Version}
		if d == nil {
			f.broke(outcomesChanged, "command %s of %s: a client was told %v, and nothing is decided", op.ID, op.Tally, got)
		} else if want := (told{resultOf[d.status], d.code, d.version}); !got.fits(want) {
			f.broke(outcomesChanged, "command %s of %s: a client was told %v, decided is %v", op.ID, op.Tally, got, want)
		}
		if op.Result == history.Accepted && sums[k] == 0 {
			f.broke(lost, "command %s of %s: a client was told %v, and there are no events", op.ID, op.Tally, got)
		}
	}
}

// checkSlots wants a process to end that was told that another one has its slot. One that fenced another
// since has not ended; once is forgiven, for what it was told may have been about a session that it had
// given up already.
func (f *finding) checkSlots(holds []history.Hold) {
	owner := map[string]int{}
	fenced := map[int]bool{}
	again := map[int]int{}
	for _, h := range holds {
		switch h.What {
		case history.Took:
			if fenced[h.Process] {
				if again[h.Process]++; again[h.Process] > 1 {
					f.broke(fencedWentOn, "process %d was told that another has %s, and took it again for the %d. time", h.Process, h.Slot, again[h.Process])
				}
				fenced[h.Process] = false
			}
			owner[h.Slot] = h.Process
		case history.Fenced:
			fenced[h.Process] = owner[h.Slot] != h.Process
		}
	}
}

// told is what somebody hears of a command.
type told struct {
	result, code string
	version      int64
}

// fits reports whether t may be what somebody heard of want: perhaps not its version.
func (t told) fits(want told) bool {
	if t.version < 0 {
		want.version = t.version
	}
	return t == want
}

func (t told) String() string {
	if t.code != "" {
		return fmt.Sprintf("%s (%s) at version %d", t.result, t.code, t.version)
	}
	return fmt.Sprintf("%s at version %d", t.result, t.version)
}

var resultOf = map[string]string{"ACCEPTED": history.Accepted, "REFUSED": history.Refused, "FAILED": history.Failed}
