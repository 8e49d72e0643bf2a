package processing

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestMetadataSurvivesItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Metadata{
			Floor:     time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "floor")),
			At:        time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "at")),
			LastEvent: rapid.Int64Min(-1).Draw(t, "event"), LastOutcome: rapid.Int64Min(-1).Draw(t, "outcome"), LowestOutcome: rapid.Int64Min(-1).Draw(t, "lowest"),
		}
		got, err := ParseMetadata(m.String())
		if err != nil || !got.Floor.Equal(m.Floor) || !got.At.Equal(m.At) || got.LastEvent != m.LastEvent || got.LastOutcome != m.LastOutcome || got.LowestOutcome != m.LowestOutcome {
			t.Fatalf("%s reads as %+v, %v", m, got, err)
		}
	})
	// The form is committed by one version and read by the next.
	want := "ledgerline/1 floor=1772625600000 event=7 outcome=-1 lowest=-1 at=1772625601000"
	if got := (Metadata{Floor: noon, At: noon.Add(time.Second), LastEvent: 7, LastOutcome: -1, LowestOutcome: -1}).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if m, err := ParseMetadata((Metadata{}).String()); err != nil || !m.Floor.Equal(time.Time{}) || !m.At.IsZero() {
		t.Errorf("the zero metadata reads as %+v, %v", m, err)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add("ledgerline/1 floor=1772625600000 event=7 outcome=-1 lowest=-1 at=1772625601000")
	for _, s := range []string{"", "consumer-1-8f8b4c6e", "ledgerline/2 floor=1 event=7 outcome=-1 lowest=-1 at=1", "ledgerline/1 floor=1 event=7 outcome=-1 lowest=-1 at=1 more=1", "ledgerline/1 floor=1 event=+7 outcome=-1 lowest=-1 at=1", "ledgerline/1 floor=1 event=7 outcome=-1 lowest=-1"} {
		if m, err := ParseMetadata(s); err == nil {
			f.Errorf("%q reads as %+v", s, m)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMetadata(s); err == nil && m.String() != s {
			t.Errorf("%q reads as %q", s, m)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("order/3@1207")
	for _, s := range []string{"", "order", "order/3", "order/@1", "order/3@", "/3@1", "order/-1@1", "order/1@-1", "order/4294967296@1", "order/3@1x", "a/b/3@5"} {
		if p, err := ParsePosition(s); err == nil {
			f.Errorf("%q reads as %v", s, p)
		}
		f.Add(s)
	}
	if p, err := ParsePosition("order/3@1207"); err != nil || p != (Position{"order", 3, 1207}) {
		f.Errorf("%v, %v", p, err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			return
		}
		if again, err := ParsePosition(p.String()); err != nil || again != p || p.Partition < 0 || p.Offset < 0 || p.Aggregate == "" {
			t.Errorf("%q reads as %v, that as %v, %v", s, p, again, err)
		}
	})
}

func FuzzCommandID(f *testing.F) {
	for _, key := range []string{"order-1", "8F8B4C6E-6A0E-5D0C-9C52-0D1B6A3F7E11", "{8f8b4c6e-6a0e-5d0c-9c52-0d1b6a3f7e11}", strings.Repeat("x", MaxKeyLength), strings.Repeat("x", MaxKeyLength+1), ""} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		id, err := CommandID(key)
		if (err != nil) != (key == "" || len(key) > MaxKeyLength) {
			t.Fatalf("%q: %v", key, err)
		}
		if err != nil {
			return
		}
		parsed, err := uuid.Parse(id)
		if err != nil || parsed.String() != id {
			t.Fatalf("%q is no UUID in lower case", id)
		}
		if again, err := CommandID(id); err != nil || again != id {
			t.Errorf("%q becomes %q, that %q", key, id, again)
		}
		if upper, err := CommandID(strings.ToUpper(id)); err != nil || upper != id {
			t.Errorf("%q in capitals becomes %q", id, upper)
		}
	})
}

// TestCommandIDsNeverChange: a key sent again after an upgrade must be recognised.
func TestCommandIDsNeverChange(t *testing.T) {
	for key, want := range map[string]string{
		"order-1":                              "29af0806-cdf1-531b-a9c5-3fdb76f558bf",
		"8F8B4C6E-6A0E-5D0C-9C52-0D1B6A3F7E11": "8f8b4c6e-6a0e-5d0c-9c52-0d1b6a3f7e11",
	} {
		if got, err := CommandID(key); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", key, got, err, want)
		}
	}
}

func FuzzValidateID(f *testing.F) {
	for _, id := range []string{"o-1", "", " ", "a/b", "{a}", "ü", strings.Repeat("x", MaxIDLength), strings.Repeat("x", MaxIDLength+1), "a\x7f"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		allowed := len(id) >= 1 && len(id) <= 128 && !strings.ContainsAny(id, " /{}")
		for _, r := range id {
			allowed = allowed && r > ' ' && r < 0x7f && r != utf8.RuneError
		}
		err := ValidateID("order_id", id)
		var field *FieldError
		if (err == nil) != allowed || err != nil && (!errors.As(err, &field) || field.Field != "order_id") {
			t.Errorf("%q: %v", id, err)
		}
	})
}

func TestKebabCase(t *testing.T) {
	for name, want := range map[string]string{"PlaceOrder": "place-order", "Take": "take", "CancelOrderNow": "cancel-order-now", "": "", "Put2": "put2"} {
		if got := KebabCase(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`([A-Z][a-z0-9]+){1,4}`).Draw(t, "name")
		var back strings.Builder
		for part := range strings.SplitSeq(KebabCase(name), "-") {
			back.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
		if back.String() != name {
			t.Fatalf("%s is %s, and back %s", name, KebabCase(name), back.String())
		}
	})
}

func TestTimeOfID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		if at, ok := timeOf(uuid.MustParse(timedID(time.UnixMilli(ms), 7))); !ok || at != ms {
			t.Fatalf("%d is %d, %v", ms, at, ok)
		}
	})
	if _, ok := timeOf(uuid.MustParse(timelessID(1))); ok {
		t.Error("a version 5 id has a time")
	}
	now := time.Now()
	if at, ok := timeOf(uuid.Must(uuid.NewV7())); !ok || time.UnixMilli(at).Sub(now).Abs() > time.Minute {
		t.Errorf("a new id is of %d", at)
	}
}

func TestRankedSum(t *testing.T) {
	for sum, want := range map[int64]int64{0: 0, -5: -5, 1 << 53: 1 << 53, 1<<53 + 1: 1 << 53, math.MaxInt64: math.MaxInt64, math.MinInt64: math.MinInt64} {
		if got := rankedSum(sum); got != want {
			t.Errorf("%d: %d, want %d", sum, got, want)
		}
	}
}

// FuzzParseParked holds that a list of what is parked reads as itself again, whoever wrote it.
func FuzzParseParked(f *testing.F) {
	f.Add(`{"partition":3,"cause":"why","events":[{"offset":5,"command":-1}]}`)
	f.Add(`{"events":[]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseParked(text)
		if err != nil {
			return
		}
		op, err := p.op("order/o-1")
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseParked(op.Value)
		if err != nil || !reflect.DeepEqual(again, p) || op.Field != "order" || op.ID != "o-1" {
			t.Fatalf("%s reads as %+v, and that as %+v, %v", text, p, again, err)
		}
	})
}
