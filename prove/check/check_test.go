package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/prove/history"
)

// TestImports: what judges the product shares nothing with it.
func TestImports(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	output, err := list.Output()
	if err != nil {
		t.Fatalf("running %s: %v", list, err)
	}
	for _, p := range strings.Fields(string(output)) {
		if strings.Contains(p, "ledgerline") && !strings.HasSuffix(p, "/prove/check") && !strings.HasSuffix(p, "/prove/history") {
			t.Errorf("it imports %s", p)
		}
	}
}

// TestRightRun has everything that a right run may have.
func TestRightRun(t *testing.T) {
	s := newStory(t)
	first := s.send("a", add("t-1", 2, 3))
	s.decide(first)
	s.decide(s.send("b", take("t-1", 5)))
	s.decide(s.send("b", take("t-1", 5))) // refused
	again := s.send("c", *first.command)  // a repeat
	again.op = len(s.ops) - 1
	s.repeat(again, first, accepted(3))
	elsewhere := s.send("d", add("t-1", 1, 1), 1-home("t-1", testPartitions)) // misplaced, and moved
	moved := add("t-1", 1, 1)
	moved.id, moved.movedFrom = elsewhere.id, elsewhere.String()
	s.decide(s.send("", moved))
	s.tell(elsewhere, accepted(5), false)
	unknown := s.send("d", add("t-1", 1, 5)) // decided, and nobody was told
	s.decide(unknown)
	s.ops[unknown.op].Result, s.ops[unknown.op].Version = history.Unknown, 0
	s.decide(s.send("a", add("t-2", 1, 0))) // refused
	old := s.send("a", add("t-2", 1, 1))
	s.outcome(old, told{history.Failed, "command-too-old", 0}, false, []map[string]any{})
	s.tell(old, told{history.Failed, "command-too-old", 0}, false)
	other := add("t-1", 9, 1)
	other.id = first.id
	reused := s.send("b", other)
	s.outcome(reused, told{history.Failed, "idempotency-key-reused", 10}, false, []map[string]any{})
	s.tell(reused, told{history.Failed, "idempotency-key-reused", 10}, false)
	code, line, said := s.judge()
	if code != 0 || said != "" {
		t.Fatalf("exit code %d: %s", code, said)
	}
	var r report
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	if r.Seeds != 1 || r.Commands != len(s.ops) {
		t.Errorf("%+v, want 1 seed, %d commands", r, len(s.ops))
	}
}

// repeat appends the outcome of a command that was decided before, and tells the client.
func (s *story) repeat(c, first sent, got told) {
	s.t.Helper()
	r := s.records[len(s.records)-1]
	for _, o := range s.records {
		if o.Topic == "tally.outcomes" && header(o, "ce_commandid") == first.id {
			r = o
		}
	}
	body, err := readOutcome(r, s.schemas)
	if err != nil {
		s.t.Fatal(err)
	}
	var refs []map[string]any
	for _, e := range body.events {
		refs = append(refs, map[string]any{"id": e.ID, "type": e.Type, "version": e.Version})
	}
	offset := c.offset
	c.offset = first.offset // which the outcome names
	s.outcome(c, got, false, refs)
	last := &s.records[len(s.records)-1]
	for i, h := range last.Headers {
		if h[0] == "ce_commandoffset" {
			last.Headers[i][1] = place{0, offset}.String()[2:]
		}
	}
	c.offset = offset
	s.tell(c, got, true)
}

// TestEachLaw breaks one law after the other in a run that is right but for that.
func TestEachLaw(t *testing.T) {
	expect := func(n int64) *int64 { return &n }
	rows := map[string]struct {
		law   string
		spoil func(s *story)
	}{
		"a confirmed record is not in the log": {lost, func(s *story) {
			s.send("a", add("t-1", 1, 1))
			s.drop("commands")
		}},
		"a confirmed record has no outcome": {lost, func(s *story) { s.send("a", add("t-1", 1, 1)) }},
		"an event of an accepted command is not there": {lost, func(s *story) {
			s.decide(s.send("a", add("t-1", 1, 2)))
			s.drop("events")
		}},
		"events of what a client was told are not there": {lost, func(s *story) {
			c := s.send("a", add("t-1", 1, 1))
			s.decide(c)
			s.drop("events")
		}},
		"a command is decided twice": {duplicated, func(s *story) {
			c := s.send("a", add("t-1", 1, 1))
			s.decide(c)
			s.decide(s.send("b", *c.command))
		}},
		"a record has two outcomes": {duplicated, func(s *story) {
			c := s.send("a", take("t-1", 1))
			s.decide(c)
			s.decide(c)
		}},
		"an event is there twice": {duplicated, func(s *story) {
			c := s.send("a", add("t-1", 1, 1))
			s.decide(c)
			s.event(c, 2, true, "event-of-"+c.id+"-1")
		}},
		"a misplaced command is moved twice": {duplicated, func(s *story) {
			c := s.send("a", take("t-1", 1), 1-home("t-1", testPartitions))
			copied := *c.command
			copied.movedFrom = c.String()
			s.decide(s.send("", copied))
			s.repeat(s.send("", copied), c, told{history.Refused, "not-enough", 0})
		}},
		"an event is of no accepted command": {duplicated, func(s *story) {
			c := s.send("a", take("t-1", 1))
			s.decide(c)
			s.event(c, 1, true, "x")
		}},
		"a version is left out": {versionConflicts, func(s *story) {
			s.tallies["t-1"] = tally{1, 0}
			s.decide(s.send("a", add("t-1", 1, 1)))
		}},
		"a version is there twice": {versionConflicts, func(s *story) {
			s.decide(s.send("a", add("t-1", 1, 1)))
			s.tallies["t-1"] = tally{}
			s.decide(s.send("a", add("t-1", 1, 1)))
		}},
		"outcomes are in another order than commands": {reordered, func(s *story) {
			c, d := s.send("a", take("t-1", 1)), s.send("a", take("t-1", 1))
			s.decide(d)
			s.decide(c)
		}},
		"events are in another order than commands": {reordered, func(s *story) {
			c, d := s.send("a", add("t-1", 1, 1)), s.send("a", add("t-1", 1, 1))
			s.decide(d)
			s.decide(c)
		}},
		"a record that nobody confirmed has no outcome": {outcomesMissing, func(s *story) { s.send("", add("t-1", 1, 1)) }},
		"a misplaced record has no copy":                {outcomesMissing, func(s *story) { s.send("", add("t-1", 1, 1), 1-home("t-1", testPartitions)) }},
		"a client is told another decision": {outcomesChanged, func(s *story) {
			c := s.send("a", take("t-1", 1))
			s.decide(c)
			s.tell(c, accepted(1), false)
		}},
		"a client is told of a decision that is none": {outcomesChanged, func(s *story) {
			c := s.send("a", take("t-1", 1))
			s.tell(c, told{history.Refused, "not-enough", 0}, false)
		}},
		"a repeat is told another version": {outcomesChanged, func(s *story) {
			c := s.send("a", add("t-1", 1, 1))
			s.decide(c)
			s.repeat(s.send("b", *c.command), c, accepted(2))
		}},
		"a repeat is told of nothing": {outcomesChanged, func(s *story) {
			c := s.send("", take("t-1", 1))
			s.outcome(c, told{history.Refused, "not-enough", 0}, false, []map[string]any{})
		}},
		"more is taken than there is": {misdecided, func(s *story) {
			s.decideAs(s.send("a", take("t-1", 1)), accepted(1), tally{1, -1})
		}},
		"another version was expected": {misdecided, func(s *story) {
			c := add("t-1", 1, 1)
			c.expected = expect(4)
			s.decideAs(s.send("a", c), accepted(1), tally{1, 1})
		}},
		"another command under the same id is told its outcome": {misdecided, func(s *story) {
			c := s.send("a", add("t-1", 1, 1))
			s.decide(c)
			other := *c.command
			other.amount++
			s.repeat(s.send("b", other), c, accepted(1))
		}},
		"an aggregate cannot be read": {misdecided, func(s *story) {
			s.outcome(s.send("a", add("t-1", 1, 1)), told{history.Failed, "aggregate-unreadable", 0}, false, []map[string]any{})
		}},
		"a first command is told that its id was used": {misdecided, func(s *story) {
			s.outcome(s.send("a", add("t-1", 1, 1)), told{history.Failed, "idempotency-key-reused", 0}, false, []map[string]any{})
		}},
		"an outcome answers nothing": {misdecided, func(s *story) {
			s.decide(s.send("", take("t-1", 1)))
			s.drop("commands")
		}},
		"a command is decided where it does not belong": {misdecided, func(s *story) {
			c := s.send("", take("t-1", 1), 1-home("t-1", testPartitions))
			s.decide(c)
		}},
		"a fenced process takes its slot again": {fencedWentOn, func(s *story) {
			for at := range int64(3) {
				for process := range 2 {
					s.holds = append(s.holds,
						history.Hold{At: 10 * at, Slot: "s", Process: process, What: history.Took},
						history.Hold{At: 10*at + 1, Slot: "s", Process: 1 - process, What: history.Fenced})
				}
			}
		}},
		// What a client was told fits no order: the tally was at 2 before this client called.
		"a client is told of the past": {historiesViolating, func(s *story) {
			s.decide(s.send("a", add("t-1", 1, 1)))
			c, d := s.send("b", take("t-1", 1)), s.send("c", add("t-1", 5, 1))
			s.ops[d.op].Call, s.ops[d.op].Return = 1, 2
			s.decide(c)
			s.decide(d)
		}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			s.decide(s.send("z", add("t-9", 1, 3)))
			row.spoil(s)
			code, _, said := s.judge()
			if code != 1 || !strings.Contains(said, "law "+row.law+" is broken") || !strings.Contains(said, "seed 7") || !strings.Contains(said, s.run.Again) {
				t.Errorf("exit code %d, want law %s: %s", code, row.law, said)
			}
		})
	}
}

// TestFencedOnce: what a process was told may have been about a session that it had given up.
func TestFencedOnce(t *testing.T) {
	s := newStory(t)
	s.decide(s.send("z", add("t-9", 1, 3)))
	s.holds = []history.Hold{
		{Slot: "s", Process: 1, What: history.Took}, {Slot: "s", Process: 2, What: history.Took}, {Slot: "s", Process: 1, What: history.Fenced},
		{Slot: "s", Process: 1, What: history.Took}, {Slot: "s", Process: 2, What: history.Fenced}, {Slot: "s", Process: 2, What: history.Ended},
		{Slot: "s", Process: 3, What: history.Took}, {Slot: "s", Process: 3, What: history.Fenced}, {Slot: "s", Process: 3, What: history.Took},
	}
	if code, _, said := s.judge(); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// TestUnfinished: what a run that was cut off lacks breaks no law, and the run is not passed over.
func TestUnfinished(t *testing.T) {
	s := newStory(t)
	s.send("a", add("t-1", 1, 1))
	dir := t.TempDir()
	s.write(dir)
	if err := os.Remove(filepath.Join(dir, "end.json")); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	code := check([]string{"-root", root, dir}, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "is not finished") || strings.Contains(stderr.String(), "law") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestFloor(t *testing.T) {
	s := newStory(t)
	s.decide(s.send("z", add("t-9", 1, 3)))
	s.run.Kinds = []string{"often", "never"}
	s.faults = []history.Fault{{Kind: "often"}, {Kind: "often"}}
	code, line, said := s.judge("-floor", "2")
	if code != 1 || !strings.Contains(said, "fault never struck 0 times, want 2") || strings.Contains(said, "often") || !strings.Contains(line, `"often":2`) {
		t.Errorf("exit code %d: %s%s", code, line, said)
	}
}

func TestTakeovers(t *testing.T) {
	s := newStory(t)
	s.decide(s.send("z", add("t-9", 1, 3)))
	for i := range int64(200) {
		s.takes = append(s.takes,
			history.Takeover{Kind: "restarted", Died: 1e9, Decided: 1e9 + 1e6*i, Quiet: true},
			history.Takeover{Kind: "gone", Died: 1e9, Decided: 1e9 + 1e7*i, Quiet: true},
			history.Takeover{Kind: "gone", Died: 1e9, Decided: 1e12, Quiet: false})
	}
	_, line, _ := s.judge()
	if !strings.Contains(line, `"takeovers":600,"takeover_restarted_p99_ms":197,"takeover_gone_p99_ms":1970`) {
		t.Error(line)
	}
	for flag, law := range map[[2]string]string{{"-restarted-ms", "196"}: "takeover_restarted_p99_ms", {"-gone-ms", "196"}: "takeover_gone_p99_ms", {"-takeovers", "601"}: "takeovers"} {
		if code, _, said := s.judge(flag[0], flag[1]); code != 1 || !strings.Contains(said, "law "+law+" is broken") {
			t.Errorf("exit code %d: %s", code, said)
		}
	}
}

func TestMutants(t *testing.T) {
	s := newStory(t)
	s.decide(s.send("z", add("t-9", 1, 3)))
	name := filepath.Join(t.TempDir(), "mutants.jsonl")
	if err := os.WriteFile(name, []byte(`{"name":"found","caught":true}`+"\n"+`{"name":"hidden","caught":false}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, line, said := s.judge("-mutants", name)
	if code != 1 || !strings.Contains(line, `"mutants":2,"mutants_caught":1`) || !strings.Contains(said, "hidden") || strings.Contains(said, "found") {
		t.Errorf("exit code %d: %s%s", code, line, said)
	}
}

func TestMemory(t *testing.T) {
	s := newStory(t)
	s.decide(s.send("z", add("t-9", 1, 3)))
	for law, m := range map[string]history.Memory{
		"":                    {Aggregates: 10, IDs: 20, Lives: []history.Life{{HeapAtStart: 1000, PeakRSS: 400 << 20}, {HeapAtStart: 2600, PeakRSS: 300 << 20}}},
		"rss_mb":              {Aggregates: 10, IDs: 20, Lives: []history.Life{{HeapAtStart: 1000, PeakRSS: 300 << 20}, {HeapAtStart: 2600, PeakRSS: 400<<20 + 1}}},
		"dedupe_bytes_per_id": {Aggregates: 10, IDs: 20, Lives: []history.Life{{HeapAtStart: 1000}, {HeapAtStart: 2601}}},
		"aggregates":          {Aggregates: 9, IDs: 20, Lives: []history.Life{{HeapAtStart: 1000}, {HeapAtStart: 2600}}},
	} {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "memory.json")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		code, line, said := s.judge("-memory", name, "-aggregates", "10")
		if law == "" && (code != 0 || !strings.Contains(line, `"aggregates":10,"rss_mb":400,"dedupe_bytes_per_id":80,`)) {
			t.Errorf("exit code %d: %s%s", code, line, said)
		}
		if law != "" && (code != 1 || strings.Count(said, "law ") != 1 || !strings.Contains(said, "law "+law+" is broken")) {
			t.Errorf("%s: exit code %d: %s", law, code, said)
		}
	}
}

// TestHome has the vectors of Kafka's own UtilsTest.testMurmur2.
func TestHome(t *testing.T) {
	for name, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107} {
		if got := home(name, 1<<30); got != want&0x7fffffff%(1<<30) {
			t.Errorf("%s: partition %d", name, got)
		}
	}
}
