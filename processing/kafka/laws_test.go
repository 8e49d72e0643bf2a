package kafka

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// laws recomputes from the log what must hold, and returns what does not: per aggregate the versions
// are 1, 2, 3… in the order of the offsets; each command id has one decision and each command record one
// answer; accepted outcomes and events name each other; what was sent is decided.
func laws(outcomes []answered, events, sent []*kgo.Record) (broken []string) {
	fail := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	versions, ids := map[string]int{}, map[string]bool{}
	byCommand := map[string][]*kgo.Record{}
	lastInput := map[int32]int{}
	for _, e := range events {
		versions[string(e.Key)]++
		if got := header(e, "ce_sequence"); got != strconv.Itoa(versions[string(e.Key)]) {
			fail("event %s/%d of %s has version %s, want %d", e.Topic, e.Offset, e.Key, got, versions[string(e.Key)])
		}
		if ids[header(e, "ce_id")] {
			fail("event id %s appears twice", header(e, "ce_id"))
		}
		ids[header(e, "ce_id")] = true
		input, _ := strconv.Atoi(header(e, "ce_commandoffset"))
		if input < lastInput[e.Partition] {
			fail("event at %d@%d is of command %d, after one of command %d", e.Partition, e.Offset, input, lastInput[e.Partition])
		}
		lastInput[e.Partition] = input
		key := string(e.Key) + " " + header(e, "ce_commandid")
		byCommand[key] = append(byCommand[key], e)
	}
	decided, answeredInputs := map[string]bool{}, map[string]bool{}
	for _, o := range outcomes {
		if input := fmt.Sprintf("%d@%d", o.record.Partition, o.input); answeredInputs[input] {
			fail("command record %s has two outcomes", input)
		} else {
			answeredInputs[input] = true
		}
		if !o.Decision {
			continue
		}
		key := o.AggregateID + " " + o.CommandID
		if decided[key] {
			fail("command %s is decided twice", key)
		}
		decided[key] = true
		made := byCommand[key]
		delete(byCommand, key)
		if len(made) != len(o.Events) {
			fail("command %s has %d events, its outcome names %d", key, len(made), len(o.Events))
			continue
		}
		for i, e := range made {
			if header(e, "ce_id") != o.Events[i].ID || header(e, "ce_commandoffset") != strconv.FormatInt(o.CommandOffset, 10) || e.Partition != o.record.Partition {
				fail("event %d of command %s is not the one that its outcome names", i, key)
			}
		}
	}
	for key := range byCommand {
		fail("events of command %s have no decision", key)
	}
	for _, r := range sent {
		if key := string(r.Key) + " " + header(r, "ce_id"); !decided[key] {
			fail("command %s was sent and not decided", key)
		}
	}
	return broken
}

// accepted counts accepted decisions.
func accepted(outcomes []answered) (n int) {
	for _, o := range outcomes {
		if o.Status == processing.Accepted && o.Decision {
			n++
		}
	}
	return n
}

func TestLawsAreBroken(t *testing.T) {
	event := func(version, id, command, input string) *kgo.Record {
		return raw("o-1", nil, "ce_sequence", version, "ce_id", id, "ce_commandid", command, "ce_commandoffset", input)
	}
	outcome := func(command string, input int64, decision bool, events ...string) answered {
		o := answered{Outcome: processing.Outcome{AggregateID: "o-1", CommandID: command, Decision: decision, CommandOffset: input}, record: &kgo.Record{}, input: input}
		for _, e := range events {
			o.Events = append(o.Events, processing.EventRef{ID: e})
		}
		return o
	}
	e1, e2 := event("1", "a", "x", "0"), event("2", "b", "y", "1")
	o1, o2 := outcome("x", 0, true, "a"), outcome("y", 1, true, "b")
	for _, c := range []struct {
		name     string
		outcomes []answered
		events   []*kgo.Record
		want     string
	}{
		{"nothing", []answered{o1, o2}, []*kgo.Record{e1, e2}, ""},
		{"gap", []answered{o2}, []*kgo.Record{e2}, "has version 2, want 1"},
		{"doubled event", []answered{o1}, []*kgo.Record{e1, e1}, "appears twice"},
		{"order", []answered{o1, o2}, []*kgo.Record{event("1", "b", "y", "1"), event("2", "a", "x", "0")}, "after one of command 1"},
		{"decided twice", []answered{o1, outcome("x", 5, true)}, []*kgo.Record{e1}, "decided twice"},
		{"answered twice", []answered{o1, outcome("z", 0, false)}, []*kgo.Record{e1}, "two outcomes"},
		{"event without decision", nil, []*kgo.Record{e1}, "have no decision"},
		{"event missing", []answered{o1}, nil, "has 0 events"},
		{"other offset", []answered{outcome("x", 7, true, "a")}, []*kgo.Record{e1}, "is not the one"},
		{"not decided", nil, nil, "was sent and not decided"},
	} {
		sent := []*kgo.Record{raw("o-1", nil, "ce_id", "x")}
		if c.name == "gap" {
			sent = nil
		}
		if got := strings.Join(laws(c.outcomes, c.events, sent), "; "); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
