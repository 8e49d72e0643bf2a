package ledgerline_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// TestRulesOverKafka produces every rule's commands, as Avro and as JSON, and reads what becomes of them
// from the outcomes and the events: the same as over HTTP.
func TestRulesOverKafka(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, p := newAPI(t, l.URL), newPlain(t, l.Connection)
	type trial struct {
		rule
		id, way string
		command string // the id of the command that the rule is about
	}
	var trials []trial
	var records []*kgo.Record
	for _, way := range []string{"avro", "json"} {
		for _, r := range rules() {
			one := trial{rule: r, id: r.id(way), way: way}
			for _, a := range append(slices.Clone(r.given), r.when) {
				one.command = uuid.Must(uuid.NewV7()).String()
				records = append(records, p.commandRecord(r.aggregate, one.id, one.command, way, a.on(one.id)))
			}
			trials = append(trials, one)
		}
	}
	p.append(records...)

	found := map[string]*kgo.Record{} // by command id: they are all different
	await(t, "an outcome of every command", func() error {
		for _, aggregate := range []string{"account", "order", "payment"} {
			for _, r := range p.read(aggregate + ".outcomes") {
				found[headerOf(r, "ce_commandid")] = r
			}
		}
		if len(found) < len(records) {
			return fmt.Errorf("there are %d of %d", len(found), len(records))
		}
		return nil
	})
	events := map[string][]string{} // by aggregate's id: they are all different
	for _, aggregate := range []string{"account", "order", "payment"} {
		maps.Copy(events, p.eventsOf(aggregate))
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, one := range trials {
		r, types := one.rule, one.events()
		record := found[one.command]
		o := p.decode(record.Value)
		status, refs := "REFUSED", "[]"
		if r.accepted() {
			status = "ACCEPTED"
			refs = fmt.Sprintf("[%s %d]", eventOf[r.when.command], len(types))
		}
		got := fmt.Sprint(o["status"], " ", o["code"], " ", o["decision"], " ", o["version"], " ", refsOf(o), " ", o["command_type"], " of ", o["aggregate"], " ", o["aggregate_id"])
		want := fmt.Sprint(status, " ", r.code, " true ", len(types), " ", refs, " ", r.when.command, " of ", r.aggregate, " ", one.id)
		if got != want {
			t.Errorf("%s: %s, want %s", one.id, got, want)
		}
		for i := range types {
			types[i] = "ledgerline." + r.aggregate + "." + types[i]
		}
		if !slices.Equal(events[one.id], types) {
			t.Errorf("%s: the log has events %v, want %v", one.id, events[one.id], types)
		}
		if r.accepted() {
			// Whoever reads an outcome can ask for what is shown as of it.
			position := fmt.Sprintf("%s/%d@%d", r.aggregate, record.Partition, o["command_offset"])
			group.Go(func() error { return checkShown(c, r, one.id, position) })
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	for _, way := range []string{"avro", "json"} {
		checkHistory(t, l, c, way)
	}
}

// refsOf writes the events that an outcome names.
func refsOf(outcome map[string]any) []string {
	refs := []string{}
	for _, e := range outcome["events"].([]any) {
		event := e.(map[string]any)
		refs = append(refs, fmt.Sprint(event["type"], " ", event["version"]))
	}
	return refs
}

// append produces records, each where its key belongs, and waits until they are there.
func (p *plain) append(records ...*kgo.Record) {
	p.t.Helper()
	partitions := map[string]int32{}
	for _, r := range records {
		if partitions[r.Topic] == 0 {
			partitions[r.Topic] = p.partitions(r.Topic)
		}
		r.Partition = home(string(r.Key), partitions[r.Topic])
	}
	if err := p.kgo.ProduceSync(p.t.Context(), records...).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// home is the partition that a key belongs to, among so many.
func home(key string, partitions int32) int32 {
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("any").Partition(&kgo.Record{Key: []byte(key)}, int(partitions)))
}

// header makes headers of name, value, name, value.
func header(pairs ...string) []kgo.RecordHeader {
	var headers []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return headers
}

// commandRecord is a command as a Kafka client writes it, as "avro" or as "json".
func (p *plain) commandRecord(aggregate, id, commandID, way string, a act) *kgo.Record {
	p.t.Helper()
	topic, fullName := aggregate+".commands", "ledgerline."+aggregate+"."+a.command
	r := &kgo.Record{Topic: topic, Key: []byte(id)}
	if way == "json" {
		r.Value = []byte(jsonText(a.data))
		r.Headers = header("ce_id", commandID, "ce_type", fullName, "content-type", "application/json")
		return r
	}
	r.Value = p.encode(topic+"-"+fullName, p.avroOf(a))
	r.Headers = header("ce_id", commandID, "ce_type", fullName, "content-type", "application/avro")
	return r
}

// avroOf returns an act's data as the Avro library wants it: what is left out is null, and what may be
// null is named by its type.
func (p *plain) avroOf(a act) map[string]any {
	p.t.Helper()
	value := maps.Clone(a.data)
	if a.command != "PlaceOrder" {
		return value
	}
	for _, optional := range []string{"discount", "placed_at"} {
		if _, given := value[optional]; !given {
			value[optional] = nil
		}
	}
	if discount := value["discount"]; discount != nil {
		value["discount"] = map[string]any{"ledgerline.Money": discount}
	}
	if text, ok := value["placed_at"].(string); ok {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			p.t.Fatal(err)
		}
		value["placed_at"] = map[string]any{"long.timestamp-millis": at}
	}
	return value
}

// eventsOf returns the types of an aggregate's events in the log, by id, each id's in order.
func (p *plain) eventsOf(aggregate string) map[string][]string {
	p.t.Helper()
	types := map[string][]string{}
	for _, r := range p.read(aggregate + ".events") {
		id := string(r.Key)
		types[id] = append(types[id], headerOf(r, "ce_type"))
		if version := headerOf(r, "ce_sequence"); version != fmt.Sprint(len(types[id])) {
			p.t.Errorf("event %d of %s %s has version %s", len(types[id]), aggregate, id, version)
		}
	}
	return types
}
