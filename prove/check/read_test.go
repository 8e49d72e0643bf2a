package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/prove/history"
)

// readStory is a history of the read side, made by hand: a log and what lies in Redis.
type readStory struct {
	*story
	stored   map[string]history.Stored
	reads    []history.Read
	kills    []history.Kill
	verbs    []history.Verb
	rewinds  []history.Rewind
	position string // of the last command
}

// The keys of the story's Redis.
const (
	tallyKey = "prove:{tally-sums.a.0}:"
	groupKey = "prove:{group-totals.b.0}:"
)

// newReadStory has two commands, of three events and one, and all that is right.
func newReadStory(t *testing.T) *readStory {
	t.Helper()
	s := &readStory{story: newStory(t), stored: map[string]history.Stored{}}
	s.run.Kind, s.run.Mode, s.run.Again, s.run.Kinds = "read", "flushall", "SEED=7 RUNS=1 prove/run read flushall", []string{"redis-flushall"}
	s.faults = []history.Fault{{Kind: "redis-flushall", Target: "redis"}}
	first := s.send("", add("t-1", 2, 3)) // in partition 0 of two
	s.decide(first)
	last := s.send("", take("t-1", 5))
	s.decide(last)
	s.position = "tally/" + last.String()
	text := func(key, text string) { s.stored[key] = history.Stored{Key: key, Type: "string", Text: text} }
	hash := func(key string, fields ...string) {
		s.stored[key] = history.Stored{Key: key, Type: "hash", Fields: map[string]string{}}
		for i := 0; i < len(fields); i += 2 {
			s.stored[key].Fields[fields[i]] = fields[i+1]
		}
	}
	set := func(key string, scores map[string]float64) {
		s.stored[key] = history.Stored{Key: key, Type: "zset", Scores: scores}
	}
	text("prove:{tally-sums}:active", "a")
	hash("prove:{tally-sums}:generations", "a", `{"id":"a","state":"ready","buckets":2}`)
	hash(tallyKey+"checkpoints", "tally/0", "a 1 topic 4 1 change")
	hash(tallyKey+"docs", "t-1", `{"version":4,"sum":1}`)
	text("prove:{group-totals}:active", "b")
	hash("prove:{group-totals}:generations", "b", `{"id":"b","state":"ready","buckets":1}`)
	hash(groupKey+"checkpoints", "tally/0", "b 1 topic 4 1 change")
	hash(groupKey+"sums", "g-7/events", "4", "g-7/total", "1")
	hash(groupKey+"entries", "g-7/t-1", `{"version":4}`)
	set(groupKey+"index", map[string]float64{"g-7/s/events": 0, "g-7/s/total": 0, "g-7/e/t-1": 0})
	set(groupKey+"rank:total:all", map[string]float64{"g-7": 1})
	return s
}

// saw adds what a reader saw who asked with the position of the last command.
func (s *readStory) saw(model, id string, status int, body string) {
	s.reads = append(s.reads, history.Read{Processor: "processor-1", Model: model, ID: id, Tally: "t-1", Position: s.position, Status: status, Body: body})
}

// killed adds a rebuild run that was killed and gone on with.
func (s *readStory) killed(next string, after int64) {
	s.kills = append(s.kills, history.Kill{
		Model: "tally-sums", Generation: "a", Next: next, Share: 0.5, Before: history.Offsets{"0 tally/0": 3}, After: history.Offsets{"0 tally/0": after},
	})
}

func (s *readStory) judgeRead(args ...string) (code int, line, said string) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "run")
	w, err := history.Create(dir, s.run)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range s.records {
		w.Record(r)
	}
	for _, f := range s.faults {
		w.Fault(f)
	}
	for v := range maps.Values(s.stored) {
		w.Stored(v)
	}
	for _, v := range s.reads {
		w.Read(v)
	}
	for _, v := range s.kills {
		w.Kill(v)
	}
	for _, v := range s.verbs {
		w.Verb(v)
	}
	for _, v := range s.rewinds {
		w.Rewind(v)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code = check(append(append([]string{"-read", "-root", root}, args...), dir), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestRightReadRun has everything that a right run may have.
func TestRightReadRun(t *testing.T) {
	s := newReadStory(t)
	s.saw("tally-sums", "t-1", 200, `{"version":4,"sum":1}`)
	s.saw("group-totals", "g-7", 200, `{"events":4,"total":1}`)
	s.saw("tally-sums", "t-1", 503, `{"code":"read-model-behind"}`)
	s.killed("a", 3)
	s.verbs = []history.Verb{{Name: "verify"}, {Name: "rollback"}, {Name: "rollback", Exit: 1}}
	s.rewinds = []history.Rewind{{Model: "tally-sums", Generation: "a", Fell: 1, By: 2}}
	code, line, said := s.judgeRead("-rewinds", "1", "-rebuild-kills", "1", "-rollbacks", "1", "-reads", "3")
	want := `{"real_runs":{"flushall":1},"events":4,"reads":3,"faults":{"redis-flushall":1},"lost":0,"extra":0,"rewinds":1,"rebuild_kills":1,` +
		`"restarted_from_zero":0,"verify_mismatches":0,"stale_reads_after_position":0,"rollbacks":1}` + "\n"
	if code != 0 || said != "" || line != want {
		t.Errorf("exit code %d: %s\ngot  %swant %s", code, said, line, want)
	}
}

// TestEachReadLaw breaks one law after the other in a run that is right but for that.
func TestEachReadLaw(t *testing.T) {
	set := func(key, field, value string) func(*readStory) {
		return func(s *readStory) { s.stored[key].Fields[field] = value }
	}
	without := func(key string) func(*readStory) { return func(s *readStory) { delete(s.stored, key) } }
	rows := map[string]struct {
		law   string
		spoil func(*readStory)
	}{
		"a document is missing":                  {lost, without(tallyKey + "docs")},
		"a document is behind":                   {lost, set(tallyKey+"docs", "t-1", `{"version":3,"sum":6}`)},
		"a document has another sum":             {extra, set(tallyKey+"docs", "t-1", `{"version":4,"sum":3}`)},
		"a document is ahead":                    {extra, set(tallyKey+"docs", "t-1", `{"version":5,"sum":3}`)},
		"a document is of nothing":               {extra, set(tallyKey+"docs", "t-2", `{"version":1,"sum":3}`)},
		"a sum counts one of a command's events": {lost, set(groupKey+"sums", "g-7/events", "2")},
		"a sum counts an event twice":            {extra, set(groupKey+"sums", "g-7/events", "5")},
		"an entry is missing":                    {lost, without(groupKey + "entries")},
		"an entry is ahead":                      {extra, set(groupKey+"entries", "g-7/t-1", `{"version":5}`)},
		"a place in the ranked list is wrong":    {extra, func(s *readStory) { s.stored[groupKey+"rank:total:all"].Scores["g-7"] = 2 }},
		"a place in the ranked list is missing":  {lost, without(groupKey + "rank:total:all")},
		"the index has too much":                 {extra, func(s *readStory) { s.stored[groupKey+"index"].Scores["g-7/e/t-2"] = 0 }},
		"the index has too little":               {lost, func(s *readStory) { delete(s.stored[groupKey+"index"].Scores, "g-7/e/t-1") }},
		"there is a strange key":                 {extra, func(s *readStory) { s.stored[tallyKey+"x"] = history.Stored{Key: tallyKey + "x", Type: "string"} }},
		"there is a strange bucket": {extra, func(s *readStory) {
			k := "prove:{tally-sums.a.9}:docs"
			s.stored[k] = history.Stored{Key: k, Type: "hash"}
		}},
		"a checkpoint is behind":                   {lost, set(tallyKey+"checkpoints", "tally/0", "a 1 topic 3 1 change")},
		"a checkpoint lacks a command":             {lost, set(tallyKey+"checkpoints", "tally/0", "a 1 topic 4 0 change")},
		"a checkpoint has a command of the future": {extra, set(groupKey+"checkpoints", "tally/0", "b 1 topic 4 2 change")},
		"a checkpoint is broken":                   {lost, set(tallyKey+"checkpoints", "tally/0", "broken:a 1 topic 4 1 change")},
		"a checkpoint is missing":                  {lost, without(groupKey + "checkpoints")},
		"there is no active generation":            {lost, without("prove:{group-totals}:active")},
		"the active generation is not ready":       {lost, set("prove:{tally-sums}:generations", "a", `{"id":"a","state":"building","buckets":2}`)},
		"a reader sees what was before its write":  {staleReads, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":3,"sum":6}`) }},
		"a reader sees nothing":                    {staleReads, func(s *readStory) { s.saw("tally-sums", "t-1", 404, `{"code":"not-found"}`) }},
		"a reader sees a group of before":          {staleReads, func(s *readStory) { s.saw("group-totals", "g-7", 200, `{"events":3,"total":6}`) }},
		"a reader sees what never was":             {extra, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":4,"sum":2}`) }},
		"a reader sees what is not there yet":      {extra, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":5,"sum":2}`) }},
		"a position is of nothing":                 {lost, func(s *readStory) { s.position = "tally/0@9"; s.saw("tally-sums", "t-1", 200, `{"version":4,"sum":1}`) }},
		"a killed build is given up":               {restartedAtZero, func(s *readStory) { s.killed("c", 3) }},
		"a killed build begins anew":               {restartedAtZero, func(s *readStory) { s.killed("a", 0) }},
		"verify finds differences":                 {verifyMismatches, func(s *readStory) { s.verbs = []history.Verb{{Name: "verify", Exit: 1, Differences: 2}} }},
		"a kind of fault never struck":             {floor, func(s *readStory) { s.faults = nil }},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := newReadStory(t)
			row.spoil(s)
			code, _, said := s.judgeRead()
			laws := strings.Count(said, "check: law ")
			if code != 1 || laws == 0 || strings.Count(said, "law "+row.law+" is broken") != laws || !strings.Contains(said, "seed 7") || !strings.Contains(said, s.run.Again) {
				t.Errorf("exit code %d, want law %s: %s", code, row.law, said)
			}
		})
	}
	if _, _, said := newReadStory(t).judgeRead("-runs", "1"); strings.Count(said, "law real_runs is broken") != len(readModes)-1 {
		t.Errorf("of %v there is one: %s", readModes, said)
	}
	for flag, law := range map[string]string{"-runs": "real_runs", "-rewinds": "rewinds", "-rebuild-kills": "rebuild_kills", "-rollbacks": "rollbacks", "-reads": "reads"} {
		if code, _, said := newReadStory(t).judgeRead(flag, "2"); code != 1 || !strings.Contains(said, "law "+law+" is broken") {
			t.Errorf("%s: exit code %d: %s", flag, code, said)
		}
	}
}

// TestGroupOf has another FNV-1a say the same.
func TestGroupOf(t *testing.T) {
	for i := range 100 {
		id := fmt.Sprintf("t-%d", i)
		h := fnv.New32a()
		_, _ = h.Write([]byte(id))
		if got, want := groupOf(id), fmt.Sprintf("g-%d", h.Sum32()%groups); got != want {
			t.Errorf("%s is in %s, want %s", id, got, want)
		}
	}
}
