package main

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ledgerline/ledgerline/prove/history"
)

// The read models of the proofs.
const (
	tallySums   = "tally-sums"
	groupTotals = "group-totals"
)

// bucketOf is the bucket of a document that is not keyed as its events are.
func bucketOf(id string, buckets int) int {
	sum := sha1.Sum([]byte(id))
	return (int(sum[0])<<8 + int(sum[1])) % buckets
}

// bucket is what one bucket holds, or must hold, by the last part of its keys.
type bucket struct {
	checkpoints, docs, sums, entries map[string]string
	index, rank                      map[string]float64
}

// checkStored holds what lies in Redis against the log.
func (f *readFinding) checkStored(folded *folded, stored []history.Stored) {
	keys := map[string]history.Stored{}
	for _, s := range stored {
		keys[s.Key] = s
	}
	for _, model := range []string{tallySums, groupTotals} {
		head := "prove:{" + model + "}:"
		active := keys[head+"active"].Text
		f.checkRetired(model, keys[head+"generations"].Fields)
		var generation struct {
			State   string
			Buckets int
			Code    int `json:"code_version"`
		}
		text, ok := keys[head+"generations"].Fields[active]
		if !ok || json.Unmarshal([]byte(text), &generation) != nil || generation.State != "ready" || generation.Buckets < 1 {
			f.broke(lost, "%s has no active generation that is ready: %q, %s", model, active, text)
			continue
		}
		want := folded.tallyBuckets(generation.Code)
		if model == groupTotals {
			want = folded.groupBuckets(generation.Buckets, generation.Code)
		}
		if generation.Buckets != len(want) {
			f.broke(lost, "generation %s of %s has %d buckets, want %d", active, model, generation.Buckets, len(want))
			continue
		}
		tag := "prove:{" + model + "." + active + "."
		for n, got := range readBuckets(tag, keys, len(want), f) {
			f.checkBucket(fmt.Sprintf("%s%d}", tag, n), want[n], got)
			f.checkCheckpoints(fmt.Sprintf("%s%d}", tag, n), folded, model, n, got.checkpoints)
		}
	}
}

// checkRetired wants no generation of a run on real services to have been broken by a write: nobody prunes there,
// and nothing that is done to Redis stops a script half-way.
func (f *readFinding) checkRetired(model string, generations map[string]string) {
	for id, text := range generations {
		if f.run.Kind == "read" && strings.Contains(text, `"state":"retired"`) {
			f.broke(brokenGenerations, "a write to generation %s of %s stopped half-way", id, model)
		}
	}
}

// readBuckets sorts the keys below a tag.
func readBuckets(tag string, keys map[string]history.Stored, n int, f *readFinding) []bucket {
	buckets := make([]bucket, n)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		rest, ok := strings.CutPrefix(name, tag)
		if !ok {
			continue
		}
		number, part, _ := strings.Cut(rest, "}:")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= n {
			f.broke(extra, "there is a key %s, of no bucket", name)
			continue
		}
		b, s := &buckets[i], keys[name]
		hash := map[string]*map[string]string{"checkpoints": &b.checkpoints, "docs": &b.docs, "sums": &b.sums, "entries": &b.entries}[part]
		set := map[string]*map[string]float64{"index": &b.index, "rank:total:all": &b.rank}[part]
		switch {
		case hash != nil && s.Type == "hash":
			*hash = s.Fields
		case set != nil && s.Type == "zset":
			*set = s.Scores
		default:
			f.broke(extra, "there is a key %s, a %s", name, s.Type)
		}
	}
	return buckets
}

// tallyBuckets are those of a model keyed as its events are: a bucket for each partition.
func (f *folded) tallyBuckets(code int) []bucket {
	buckets := make([]bucket, f.partitions)
	for i := range buckets {
		buckets[i].docs = map[string]string{}
	}
	for tally, states := range f.tallies {
		last := states[len(states)-1]
		buckets[home(tally, f.partitions)].docs[tally] = fmt.Sprintf(`{"version":%d,"sum":%d%s}`, len(states), last.sum, marked(code))
	}
	return buckets
}

// marked is what JSON of a code version has last.
func marked(code int) string {
	if code == 1 {
		return ""
	}
	return fmt.Sprintf(`,"code":%d`, code)
}

func (f *folded) groupBuckets(n, code int) []bucket {
	buckets := make([]bucket, n)
	for i := range buckets {
		buckets[i] = bucket{sums: map[string]string{}, entries: map[string]string{}, index: map[string]float64{}, rank: map[string]float64{}}
	}
	for id, g := range f.groups {
		b := buckets[bucketOf(id, n)]
		b.sums[id+"/events"], b.sums[id+"/total"] = strconv.FormatInt(g.events, 10), strconv.FormatInt(g.total, 10)
		b.index[id+"/s/events"], b.index[id+"/s/total"], b.rank[id] = 0, 0, float64(g.total)
		if code != 1 {
			b.sums[id+"/codes"], b.index[id+"/s/codes"] = strconv.FormatInt(g.events*int64(code), 10), 0
		}
		for tally := range g.tallies {
			b.entries[id+"/"+tally] = fmt.Sprintf(`{"version":%d%s}`, len(f.tallies[tally]), marked(code))
			b.index[id+"/e/"+tally] = 0
		}
	}
	return buckets
}

func (f *readFinding) checkBucket(name string, want, got bucket) {
	for part, both := range map[string][2]map[string]string{"docs": {want.docs, got.docs}, "sums": {want.sums, got.sums}, "entries": {want.entries, got.entries}} {
		compare(f, name+":"+part, both[0], both[1])
	}
	for part, both := range map[string][2]map[string]float64{"index": {want.index, got.index}, "rank:total:all": {want.rank, got.rank}} {
		compare(f, name+":"+part, both[0], both[1])
	}
}

// compare wants two maps to be equal. What is missing or of fewer events is lost, anything else too much.
func compare[V comparable](f *readFinding, name string, want, got map[string]V) {
	for _, field := range slices.Sorted(maps.Keys(want)) {
		value, ok := got[field]
		switch {
		case !ok:
			f.broke(lost, "%s has no %s, want %v", name, field, want[field])
		case value != want[field] && fewer(fmt.Sprint(value), fmt.Sprint(want[field])):
			f.broke(lost, "%s has %v for %s, want %v", name, value, field, want[field])
		case value != want[field]:
			f.broke(extra, "%s has %v for %s, want %v", name, value, field, want[field])
		}
	}
	for _, field := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[field]; !ok {
			f.broke(extra, "%s has %v for %s, which is not in the log", name, got[field], field)
		}
	}
}

// fewer reports whether a value is one of fewer events: a lower version, or a lower number.
func fewer(got, want string) bool {
	var a, b struct{ Version float64 }
	if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil {
		x, err := strconv.ParseFloat(got, 64)
		y, err2 := strconv.ParseFloat(want, 64)
		return err == nil && err2 == nil && x < y
	}
	return a.Version < b.Version
}

// checkCheckpoints wants each that a bucket must have to be behind the last event, with the last command.
func (f *readFinding) checkCheckpoints(name string, folded *folded, model string, number int, got map[string]string) {
	for p := range folded.partitions {
		if folded.ends[p] == 0 || model == tallySums && int(p) != number {
			continue
		}
		source := fmt.Sprintf("tally/%d", p)
		words := strings.Fields(got[source]) // generation, code version, topic id, offset, command, change
		if len(words) != 6 || strings.HasPrefix(got[source], "broken:") {
			f.broke(lost, "%s has checkpoint %q of %s", name, got[source], source)
			continue
		}
		offset, err := strconv.ParseInt(words[3], 10, 64)
		command, err2 := strconv.ParseInt(words[4], 10, 64)
		switch {
		case err != nil || err2 != nil || offset < folded.ends[p] || command < folded.commands[p]:
			f.broke(lost, "%s has checkpoint %q of %s, want offset %d at least and command %d", name, got[source], source, folded.ends[p], folded.commands[p])
		case command > folded.commands[p]:
			f.broke(extra, "%s has checkpoint %q of %s, want command %d: a position would be taken for held", name, got[source], source, folded.commands[p])
		}
	}
}
