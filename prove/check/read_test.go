package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
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
	walks    []history.Walk
	tampers  []history.Tamper
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
	hash("prove:{tally-sums}:generations", "a", `{"id":"a","state":"ready","buckets":2,"code_version":1}`)
	hash(tallyKey+"checkpoints", "tally/0", "a 1 topic 4 1 change")
	hash(tallyKey+"docs", "t-1", `{"version":4,"sum":1}`)
	text("prove:{group-totals}:active", "b")
	hash("prove:{group-totals}:generations", "b", `{"id":"b","state":"ready","buckets":1,"code_version":1}`)
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

// walked adds a list that was read to its end: of a group, or of all groups if that is "".
func (s *readStory) walked(group string, items ...string) {
	w := history.Walk{Processor: "processor-1", Group: group, Tally: "t-1", Position: s.position, Ended: true}
	for _, page := range items {
		w.Pages = append(w.Pages, `{"items":[`+page+`]}`)
	}
	s.walks = append(s.walks, w)
}

// tampered adds a document that was changed, and what verify said.
func (s *readStory) tampered(said ...string) {
	s.tampers = append(s.tampers, history.Tamper{Model: "tally-sums", Generation: "a", What: "document changed", Key: tallyKey + "docs", Field: "t-1", Said: said})
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
	for _, v := range s.walks {
		w.Walk(v)
	}
	for _, v := range s.tampers {
		w.Tamper(v)
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
	s.walked("", `{"id":"g-7","events":4,"total":1}`)
	s.walked("", `{"id":"g-7","events":5,"total":1,"codes":10}`)
	s.walked("g-7", `{"version":4,"code":2}`)
	s.tampered("document t-1 in bucket tally-sums.a.0: the log says so, the store holds nothing")
	at := history.Offsets{"0 tally/0": 4}
	s.verbs = []history.Verb{{Name: "verify"}, {Name: "promote", Ends: at, Reached: at}, {Name: "rollback"}, {Name: "rollback", Exit: 1}}
	s.rewinds = []history.Rewind{{Model: "tally-sums", Generation: "a", Fell: 1, By: 2}}
	code, line, said := s.judgeRead("-rewinds", "1", "-rebuild-kills", "1", "-rollbacks", "1", "-reads", "3")
	want := `{"seeds":0,"real_runs":{"flushall":1},"events":4,"reads":6,"faults":{"redis-flushall":1},"lost":0,"extra":0,"rewinds":1,"rebuild_kills":1,` +
		`"restarted_from_zero":0,"verify_mismatches":0,"tampered":1,"tampered_found":1,"stale_reads_after_position":0,"mixed_generation_reads":0,` +
		`"promoted_behind":0,"broken_generations":0,"rollbacks":1,"rebuild_rss_mb_at_1x":0,"rebuild_rss_mb_at_10x":0,"mutants":0,"mutants_caught":0}` + "\n"
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
		"the active generation is not ready":       {lost, set("prove:{tally-sums}:generations", "a", `{"id":"a","state":"building","buckets":2,"code_version":1}`)},
		"a reader sees what was before its write":  {staleReads, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":3,"sum":6}`) }},
		"a reader sees nothing":                    {staleReads, func(s *readStory) { s.saw("tally-sums", "t-1", 404, `{"code":"not-found"}`) }},
		"a reader sees a group of before":          {staleReads, func(s *readStory) { s.saw("group-totals", "g-7", 200, `{"events":3,"total":6}`) }},
		"a reader sees what never was":             {extra, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":4,"sum":2}`) }},
		"a reader sees what is not there yet":      {extra, func(s *readStory) { s.saw("tally-sums", "t-1", 200, `{"version":5,"sum":2}`) }},
		"a position is of nothing":                 {lost, func(s *readStory) { s.position = "tally/0@9"; s.saw("tally-sums", "t-1", 200, `{"version":4,"sum":1}`) }},
		"a killed build is given up":               {restartedAtZero, func(s *readStory) { s.killed("c", 3) }},
		"a killed build begins anew":               {restartedAtZero, func(s *readStory) { s.killed("a", 0) }},
		"verify finds differences":                 {verifyMismatches, func(s *readStory) { s.verbs = []history.Verb{{Name: "verify", Exit: 1, Differences: 2}} }},
		"a list is of two generations": {mixedReads, func(s *readStory) {
			s.walked("", `{"id":"g-7","events":4,"total":1}`, `{"id":"g-8","events":4,"total":1,"codes":8}`)
		}},
		"a group is of two generations": {mixedReads, func(s *readStory) { s.walked("", `{"id":"g-7","events":4,"total":1,"codes":6}`) }},
		"a list lacks a group":          {staleReads, func(s *readStory) { s.walked("", `{"id":"g-8","events":4}`) }},
		"a list has a group of before":  {staleReads, func(s *readStory) { s.walked("", `{"id":"g-7","events":3}`) }},
		"a list lacks an entry":         {staleReads, func(s *readStory) { s.walked("g-7", "") }},
		"verify finds nothing":          {tamperedFound, func(s *readStory) { s.tampered() }},
		"verify finds something else":   {tamperedFound, func(s *readStory) { s.tampered("document t-2 in bucket tally-sums.a.0: the log says nothing") }},
		"promoted while behind": {promotedBehind, func(s *readStory) {
			s.verbs = []history.Verb{{Name: "promote", Ends: history.Offsets{"0 tally/0": 4}, Reached: history.Offsets{"0 tally/0": 3}}}
		}},
		"a generation was broken":      {brokenGenerations, set("prove:{tally-sums}:generations", "c", `{"id":"c","state":"retired"}`)},
		"a kind of fault never struck": {floor, func(s *readStory) { s.faults = nil }},
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
	for flag, law := range map[string]string{"-runs": "real_runs", "-rewinds": "rewinds", "-rebuild-kills": "rebuild_kills", "-rollbacks": "rollbacks", "-reads": "reads", "-seeds": "seeds"} {
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

// TestRebuildMemory wants a job on ten times as much to need a tenth more at most.
func TestRebuildMemory(t *testing.T) {
	for last, want := range map[int64]int{110 << 20: 0, 111 << 20: 1} {
		name := filepath.Join(t.TempDir(), "memory.json")
		text := fmt.Sprintf(`{"scales":[{"tallies":5,"offsets":20,"peak_rss":%d},{"tallies":50,"offsets":200,"peak_rss":%d}]}`, 100<<20, last)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, line, said := newReadStory(t).judgeRead("-memory", name)
		if code != want || !strings.Contains(line, fmt.Sprintf(`"rebuild_rss_mb_at_1x":100,"rebuild_rss_mb_at_10x":%d`, last>>20)) || strings.Count(said, "law rebuild_rss is broken") != want {
			t.Errorf("%d: exit code %d: %s%s", last, code, line, said)
		}
	}
}
