package main

import (
	"encoding/binary"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
)

// outcomeValue writes an outcome as Avro does, up to its version.
func outcomeValue(decision bool, code string, version int64) []byte {
	b := []byte{0, 0, 0, 0, 7}
	text := func(s string) { b = append(binary.AppendVarint(b, int64(len(s))), s...) }
	for _, s := range []string{"id", "tally", "t-1", "Add"} {
		text(s)
	}
	b = binary.AppendVarint(b, 1)
	if decision {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	text(code)
	text("a detail")
	return binary.AppendVarint(b, version)
}

func TestReadOutcome(t *testing.T) {
	record := &kgo.Record{Partition: 3, Value: outcomeValue(false, "not-enough", 300), Headers: []kgo.RecordHeader{
		{Key: "ce_commandid", Value: []byte("id")}, {Key: "ce_commandoffset", Value: []byte("12")}, {Key: "ce_status", Value: []byte("REFUSED")},
	}}
	o, err := readOutcome(record)
	if err != nil {
		t.Fatal(err)
	}
	want := answer{appended: true, partition: 3, offset: 12, result: history.Refused, code: "not-enough", version: 300, repeat: true}
	if got := o.answer(o.input); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for cut := range len(record.Value) - 5 {
		short := *record
		short.Value = record.Value[:5+cut]
		if o, err := readOutcome(&short); err == nil {
			t.Errorf("cut after %d bytes: got %+v and no error", cut, o)
		}
	}
}

func TestReadHTTP(t *testing.T) {
	for _, row := range []struct {
		status     int
		etag, body string
		want       answer
	}{
		{201, `"5"`, `{"version":5}`, answer{result: history.Accepted, version: 5}},
		{202, "", `{"status":"undecided"}`, answer{result: history.Unknown, version: -1}},
		{409, "", `{"code":"not-enough"}`, answer{result: history.Refused, code: "not-enough", version: -1}},
		{412, `"7"`, `{"code":"version-conflict"}`, answer{result: history.Refused, code: "version-conflict", version: 7}},
		{409, "", `{"code":"in-progress"}`, answer{result: history.Unknown, version: -1}},
		{503, "", `{"code":"unconfirmed"}`, answer{result: history.Unknown, version: -1}},
		{422, "", `{"code":"command-too-old"}`, answer{result: history.Failed, code: "command-too-old", version: -1}},
		{502, "", `gone`, answer{result: history.Unknown, version: -1}},
	} {
		row.want.offset = -1
		response := &http.Response{StatusCode: row.status, Header: http.Header{}}
		if row.etag != "" {
			response.Header.Set("ETag", row.etag)
		}
		if got := readHTTP(response, []byte(row.body)); got != row.want {
			t.Errorf("%d %s: got %+v, want %+v", row.status, row.body, got, row.want)
		}
	}
}

// What was sent before a worker died tells nothing of its takeover.
func TestPulse(t *testing.T) {
	second := int64(time.Second)
	p := &pulse{r: &run{began: time.Now().Add(-time.Minute)}, keys: make([][]string, 1), beats: [][]*beat{{
		{sent: 1 * second, seen: 12 * second}, {sent: 2 * second, seen: 2 * second}, {sent: 5 * second, seen: 10 * second},
		{sent: 6 * second, seen: 9 * second}, {sent: 7 * second, seen: -1},
	}}}
	if at, ok := p.firstAfter(0, 4*second); !ok || at != 9*second {
		t.Errorf("first after 4 s: %d, %t, want 9 s", at, ok)
	}
	if _, ok := p.firstAfter(0, 6*second); ok {
		t.Error("first after 6 s: there is one")
	}
	if got := p.longest(0, 2*second, 6*second); got != 5*time.Second {
		t.Errorf("longest is %s, want 5s", got)
	}
	if got := p.oldest(); got < 59*second {
		t.Errorf("oldest is %d, want now: nobody waits", got)
	}
	p.beats[0] = append(p.beats[0], &beat{sent: 20 * second})
	if got := p.oldest(); got != 20*second {
		t.Errorf("oldest is %d, want 20 s", got)
	}
	if got := p.slowest(0, 60*second); got < 39*time.Second {
		t.Errorf("slowest is %s, want 40s: it waits still", got)
	}
}

func TestPulseKeys(t *testing.T) {
	for partition, keys := range pulseKeys(12) {
		if len(keys) != pulseTallies {
			t.Fatalf("partition %d has %d keys", partition, len(keys))
		}
		for _, key := range keys {
			if at := kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: []byte(key)}, 12); at != partition {
				t.Errorf("%s belongs to %d, not to %d", key, at, partition)
			}
		}
	}
}

func TestDeckDealsAllAlike(t *testing.T) {
	kinds := []string{"a", "b", "c"}
	d := &deck{chance: (&run{cfg: config{seed: 5}}).chance("deck"), kinds: kinds}
	for range 4 {
		dealt := []string{d.next(), d.next(), d.next()}
		slices.Sort(dealt)
		if !slices.Equal(dealt, kinds) {
			t.Fatalf("dealt %v", dealt)
		}
	}
}

func TestQuantile(t *testing.T) {
	var values []int64
	for i := range 200 {
		values = append(values, int64(i+1))
	}
	if p50, p99 := quantile(values, 0.5), quantile(values, 0.99); p50 != 100 || p99 != 198 {
		t.Errorf("got %d and %d, want 100 and 198", p50, p99)
	}
	if got := quantile(values[:1], 0.99); got != 1 {
		t.Errorf("of one value: %d", got)
	}
}
