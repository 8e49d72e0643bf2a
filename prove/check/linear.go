package main

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/ledgerline/ledgerline/prove/history"
)

// historiesViolating is what the report calls a history that no order of its operations explains.
const historiesViolating = "histories_violating"

// isWhole reports whether a run's history is worth checking: clients, operations, unknown results,
// tallies, expected versions and retries of one id enough.
func isWhole(ops []history.Op) bool {
	clients, tallies, ids := map[string]bool{}, map[string]bool{}, map[key]int{}
	unknown, expected, retries := 0, 0, 0
	for _, op := range ops {
		clients[op.Client], tallies[op.Tally] = true, true
		if op.Result == history.Unknown {
			unknown++
		}
		if op.Expected != nil {
			expected++
		}
		if ids[key{op.Tally, op.ID}]++; ids[key{op.Tally, op.ID}] == 2 {
			retries++
		}
	}
	return len(clients) >= 4 && len(ops) >= 100 && unknown*20 >= len(ops) && len(tallies) > 1 && expected > 0 && retries > 0
}

// operation is all tries of one command: it happens at most once.
type operation struct {
	command
	told told // result unknown if nobody was told
}

// patience is how long one tally's history is looked at, each way.
const (
	patience       = 3 * time.Second
	patienceForLog = time.Minute
)

// model is a tally to which one operation happens after the other.
var model = porcupine.Model{
	Init: func() any { return tally{} },
	Step: func(state, input, _ any) (bool, any) {
		o := input.(operation)
		want, after := state.(tally).decide(&o.command)
		return o.told.result == history.Unknown || o.told.fits(want), after
	},
}

// checkHistory looks for an order of the operations of each tally that explains what clients were told,
// each operation at one moment between its call and its return. An operation of which nobody knows may
// have happened at any time after its call, or never: which is to say, after all others. With many of
// those there are too many orders to try: then the log says what became of them, though not when.
func (f *finding) checkHistory(l *commandLog, ops []history.Op) {
	byTally := map[string][]porcupine.Operation{}
	for _, o := range merge(ops) {
		tally := o.Input.(operation).tally
		byTally[tally] = append(byTally[tally], o)
	}
	for name, operations := range byTally {
		result := porcupine.CheckOperationsTimeout(model, operations, patience)
		if result == porcupine.Unknown {
			result = porcupine.CheckOperationsTimeout(model, l.inform(operations), patienceForLog)
		}
		switch result {
		case porcupine.Illegal:
			f.broke(historiesViolating, "no order of the %d operations on %s explains what clients were told", len(operations), name)
		case porcupine.Unknown:
			f.broke(historiesViolating, "whether an order of the %d operations on %s explains what clients were told was not found out in %s", len(operations), name, patienceForLog)
		}
	}
}

// inform completes operations of which nobody knows by what the log says, and leaves out those that were
// never decided.
func (l *commandLog) inform(operations []porcupine.Operation) []porcupine.Operation {
	decided := map[key]*outcome{}
	bodies := map[key]*command{}
	for p := range l.partitions {
		for _, o := range l.outcomes[p] {
			if o.decision && decided[o.key] == nil {
				decided[o.key], bodies[o.key] = o, l.commands[place{p, o.input}]
			}
		}
	}
	var informed []porcupine.Operation
	for _, m := range operations {
		o := m.Input.(operation)
		if o.told.result == history.Unknown {
			d := decided[o.key]
			if d == nil || !o.sameBody(bodies[o.key]) {
				continue
			}
			o.told = told{resultOf[d.status], d.code, d.version}
			m.Input = o
		}
		informed = append(informed, m)
	}
	return informed
}

// merge makes one operation of all tries of a command, in the order of the first: called when the first
// was, returned when the first client was told. Tries that failed have decided nothing.
func merge(ops []history.Op) []porcupine.Operation {
	type try struct {
		key
		name          string
		amount, parts int64
		expected      string
	}
	at := map[try]int{}
	var merged []porcupine.Operation
	for _, op := range ops {
		if op.Result == history.Failed {
			continue
		}
		t := try{key{op.Tally, op.ID}, op.Command, op.Amount, op.Parts, optional(op.Expected)}
		i, ok := at[t]
		if !ok {
			i = len(merged)
			at[t] = i
			merged = append(merged, porcupine.Operation{ClientId: i, Call: op.Call, Return: math.MaxInt64, Input: operation{
				command: command{key: t.key, name: op.Command, amount: op.Amount, parts: op.Parts, expected: op.Expected},
				told:    told{result: history.Unknown},
			}})
		}
		m := &merged[i]
		m.Call = min(m.Call, op.Call)
		if op.Result == history.Unknown {
			continue
		}
		o := m.Input.(operation)
		if o.told.result == history.Unknown || op.Return < m.Return {
			o.told = told{op.Result, op.Code, op.Version} // that others were told the same is checkTold's
		}
		m.Input, m.Return = o, min(m.Return, op.Return)
	}
	return merged
}
