package kafka

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMigrationVerifyFinds writes the copies anew, each time with one thing wrong.
func TestMigrationVerifyFinds(t *testing.T) {
	f, _ := migrated(t, 12)
	m := f.migration()
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	copies := map[string]map[int32][]*kgo.Record{newEvents: f.committedIn(newEvents), newOutcomes: f.committedIn(newOutcomes)}
	full := int32(0) // a partition with enough in it
	for p, records := range copies[newEvents] {
		if len(records) > len(copies[newEvents][full]) {
			full = p
		}
	}
	rewrite := func(topic string, change func(all map[int32][]*kgo.Record)) {
		t.Helper()
		all := map[int32][]*kgo.Record{}
		for p, records := range copies[topic] {
			for _, r := range records {
				all[p] = append(all[p], &kgo.Record{Topic: topic, Partition: p, Key: r.Key, Value: r.Value, Headers: slices.Clone(r.Headers), Timestamp: r.Timestamp})
			}
		}
		change(all)
		if _, err := f.adm.DeleteTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		f.newTopics(newPrefix, testPartitions)
		cl := f.kgo(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for p, records := range all {
			for _, r := range records {
				r.Partition = p
				if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	at := func(change func(list []*kgo.Record) []*kgo.Record) func(map[int32][]*kgo.Record) {
		return func(all map[int32][]*kgo.Record) { all[full] = change(all[full]) }
	}
	one := func(change func(r *kgo.Record)) func(map[int32][]*kgo.Record) {
		return at(func(list []*kgo.Record) []*kgo.Record { change(list[1]); return list })
	}
	set := func(key, value string) func(map[int32][]*kgo.Record) {
		return one(func(r *kgo.Record) { r.Headers[indexOf(r.Headers, key)].Value = []byte(value) })
	}
	other := copies[newEvents][full][2].Value
	for _, row := range []struct {
		name   string
		change func(map[int32][]*kgo.Record)
		count  int
		says   string
	}{
		{"nothing", func(map[int32][]*kgo.Record) {}, 0, ""},
		{"missing", at(func(l []*kgo.Record) []*kgo.Record { return slices.Delete(l, 1, 2) }), 1, "has no copy"},
		{"the last missing", at(func(l []*kgo.Record) []*kgo.Record { return l[:len(l)-1] }), 1, "has no copy"},
		{"doubled", at(func(l []*kgo.Record) []*kgo.Record { again := *l[1]; return slices.Insert(l, 2, &again) }), 1, "is doubled or out of order"},
		{"the last doubled", at(func(l []*kgo.Record) []*kgo.Record { again := *l[len(l)-1]; return append(l, &again) }), 1, "is doubled or out of order"},
		{"swapped", at(func(l []*kgo.Record) []*kgo.Record { l[1], l[2] = l[2], l[1]; return l }), 2, "is doubled or out of order"},
		{"in another partition", func(all map[int32][]*kgo.Record) {
			p := (full + 1) % testPartitions
			all[p], all[full] = append(all[p], all[full][1]), slices.Delete(all[full], 1, 2)
		}, 2, "is no copy of a record of"},
		{"of nobody", at(func(l []*kgo.Record) []*kgo.Record {
			return append(l, &kgo.Record{Topic: l[0].Topic, Key: l[0].Key, Value: l[0].Value})
		}), 1, "is no copy of a record of"},
		{"of a record that is none", at(func(l []*kgo.Record) []*kgo.Record {
			r := l[len(l)-1]
			r.Headers[indexOf(r.Headers, headerMigratedFrom)].Value = fmt.Appendf(nil, "%s/%d@1000 command 1", strings.TrimPrefix(r.Topic, newPrefix), full)
			return l
		}), 2, "@1000, where there is no record"},
		{"another value", one(func(r *kgo.Record) { r.Value = other }), 1, "has value"},
		{"an undecodable value", one(func(r *kgo.Record) { r.Value = []byte("x") }), 1, "cannot be decoded"},
		{"another key", one(func(r *kgo.Record) { r.Key = []byte("o-other") }), 1, "has key"},
		{"another timestamp", one(func(r *kgo.Record) { r.Timestamp = r.Timestamp.Add(time.Second) }), 1, "has timestamp"},
		{"another version", set("ce_sequence", "9"), 1, `has headers ["ce_sequence=9"]`},
		{"another command", set("ce_commandid", "c"), 1, `has headers ["ce_commandid=c"]`},
		{"the old position", set("ce_commandoffset", "1"), 1, `has headers ["ce_commandoffset=1"]`},
		{"another type", set("ce_type", "T"), 1, `has headers ["ce_type=T"]`},
		{"another place of its command", one(func(r *kgo.Record) {
			i := indexOf(r.Headers, headerMigratedFrom)
			place, _, _ := strings.Cut(string(r.Headers[i].Value), " ")
			r.Headers[i].Value = []byte(place + " command 99")
		}), 1, `command 99"]`},
		{"a header too many", one(func(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: "x", Value: []byte("y")}) }), 1, `has headers ["x=y"]`},
		{"a header too few", one(func(r *kgo.Record) { r.Headers = slices.Delete(r.Headers, 1, 2) }), 1, `want ["ce_id=`},
	} {
		for _, topic := range []string{newEvents, newOutcomes} {
			if topic == newOutcomes && strings.Contains(row.name, "another version") { // which outcomes have in their value
				continue
			}
			rewrite(topic, row.change)
			found := mustVerify(t, m)
			if found.Count != row.count || !strings.Contains(strings.Join(found.Differences, "\n"), row.says) {
				t.Errorf("%s in %s: %d differences, want %d with %q: %s", row.name, topic, found.Count, row.count, row.says, strings.Join(found.Differences, "\n"))
			}
			for _, d := range found.Differences {
				if !strings.Contains(d, "order.") || !strings.Contains(d, "/"+strconv.Itoa(int(full))+"@") && row.name != "in another partition" {
					t.Errorf("%s: it does not say where: %s", row.name, d)
				}
			}
			rewrite(topic, func(map[int32][]*kgo.Record) {})
		}
	}
	if err := f.mark(); err != nil {
		t.Fatal(err)
	}
	if found := mustVerify(t, m); found.Count != 1 || !strings.Contains(found.Differences[0], "the migration is not finished") {
		t.Errorf("not finished: %+v", found)
	}
}
