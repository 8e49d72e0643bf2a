package kafka

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

// maxMigrationDifferences is how many differences are told of, of all that are counted.
const maxMigrationDifferences = 20

// MigrationCheck is what [Migration.Verify] found.
type MigrationCheck struct {
	Topics []VerifiedTopic `json:"topics"`
	// Differences are the first ones, a line each, Count is how many there are.
	Differences []string `json:"differences"`
	Count       int      `json:"count"`
}

// VerifiedTopic says how many records a topic has, and that of another prefix, and how many of them are alike.
type VerifiedTopic struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Records    int64  `json:"records"`
	NewRecords int64  `json:"new_records"`
	Alike      int64  `json:"alike"`
}

// OK reports whether all was alike.
func (c MigrationCheck) OK() bool { return c.Count == 0 }

func (c *MigrationCheck) differ(format string, args ...any) {
	if c.Count++; len(c.Differences) < maxMigrationDifferences {
		c.Differences = append(c.Differences, fmt.Sprintf(format, args...))
	}
}

// Verify reads the topics of both prefixes to their ends and compares them, record by record: order, partition,
// key, value, headers and timestamp. It shares with Run the codec alone. It may be called beside anything, but finds
// differences as soon as workers of either prefix have written.
func (m *Migration) Verify(ctx context.Context) (MigrationCheck, error) {
	found := MigrationCheck{Topics: []VerifiedTopic{}, Differences: []string{}}
	s, err := m.look(ctx)
	if err != nil {
		return found, err
	}
	if err := m.checkCounts(s); err != nil {
		return found, err
	}
	if !s.finished {
		found.differ("the migration is not finished; run: rebuild migrate --prefix %q --to-prefix %q", m.cfg.From.Prefix, m.cfg.To.Prefix)
	}
	for tp, at := range s.fresh {
		if _, err := processing.ParseMetadata(at.Metadata); s.finished && err != nil {
			found.differ("group %s has no offset of %s that a worker could go on from: %v", m.cfg.ToGroup, tp, err)
		}
	}
	old, err := newReader(m.cfg.Client)
	if err != nil {
		return found, err
	}
	defer old.close()
	fresh, err := newReader(m.cfg.Client)
	if err != nil {
		return found, err
	}
	defer fresh.close()
	for _, c := range s.sorted() {
		if n := len(found.Topics); n == 0 || found.Topics[n-1].From != c.from.topic {
			found.Topics = append(found.Topics, VerifiedTopic{From: c.from.topic, To: c.to.topic})
		}
		v := &comparison{codec: m.cfg.Codec, c: c, found: &found, topic: &found.Topics[len(found.Topics)-1], last: -1}
		group, ctx := errgroup.WithContext(ctx)
		a := streamOf(ctx, group, old, c.from, s.marks[c.from])
		b := streamOf(ctx, group, fresh, c.to, s.marks[c.to])
		group.Go(func() error { return v.run(ctx, a, b) })
		if err := group.Wait(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// streamOf sends the records of a partition, and closes the channel behind them.
func streamOf(ctx context.Context, group *errgroup.Group, r *reader, tp topicPartition, of marks) <-chan *kgo.Record {
	records := make(chan *kgo.Record, 256)
	group.Go(func() error {
		defer close(records)
		return r.read(ctx, map[topicPartition]span{tp: {of.start, of.high}}, func(rec *kgo.Record) error {
			select {
			case records <- rec:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	return records
}

// comparison is of one partition.
type comparison struct {
	codec *schemas.Codec
	c     *copying
	found *MigrationCheck
	topic *VerifiedTopic
	// last is the old offset of the last copy that was met.
	last int64
}

// run walks through both logs. A copy says where it is from: so one that is missing is told from one that is too
// many, and what follows is compared all the same.
func (v *comparison) run(ctx context.Context, olds, news <-chan *kgo.Record) error {
	next := func(from <-chan *kgo.Record, count *int64) *kgo.Record {
		r := <-from
		if r != nil {
			*count++
		}
		return r
	}
	nextOld := func() *kgo.Record { return next(olds, &v.topic.Records) }
	nextNew := func() *kgo.Record { return next(news, &v.topic.NewRecords) }
	a, b := nextOld(), nextNew()
	for a != nil || b != nil {
		if ctx.Err() != nil { // else what is not read yet would be taken for missing
			return ctx.Err()
		}
		at, ours := int64(-1), false
		if b != nil {
			at, ours = v.origin(b)
		}
		switch {
		case b != nil && !ours:
			v.differ(b, "is no copy of a record of %s: header %s is %q", v.c.from, headerMigratedFrom, header(b, headerMigratedFrom))
			b = nextNew()
		case b != nil && at <= v.last:
			v.differ(b, "is a copy of %s@%d, and comes after that of %d: it is doubled or out of order", v.c.from, at, v.last)
			b = nextNew()
		case b == nil || a != nil && a.Offset < at:
			v.differ(a, "has no copy in %s, or not at its place", v.c.to)
			a = nextOld()
		case a == nil || a.Offset > at:
			v.differ(b, "is a copy of %s@%d, where there is no record", v.c.from, at)
			v.last = at
			b = nextNew()
		default:
			v.last = at
			if err := v.pair(ctx, a, b); err != nil {
				return err
			}
			a, b = nextOld(), nextNew()
		}
	}
	return nil
}

func (v *comparison) differ(r *kgo.Record, format string, args ...any) {
	v.found.differ("%s/%d@%d %s", r.Topic, r.Partition, r.Offset, fmt.Sprintf(format, args...))
}

// origin returns the offset of the record that r says it is a copy of, and false if that lies elsewhere.
func (v *comparison) origin(r *kgo.Record) (int64, bool) {
	place, _, _ := strings.Cut(header(r, headerMigratedFrom), " ")
	offset, ok := strings.CutPrefix(place, v.c.from.String()+"@")
	at, err := strconv.ParseInt(offset, 10, 64)
	return at, ok && err == nil
}

// pair compares a record with its copy.
func (v *comparison) pair(ctx context.Context, a, b *kgo.Record) error {
	was := v.found.Count
	if !bytes.Equal(a.Key, b.Key) {
		v.differ(b, "has key %q, the record at %s@%d %q", b.Key, v.c.from, a.Offset, a.Key)
	}
	if !a.Timestamp.Equal(b.Timestamp) {
		v.differ(b, "has timestamp %s, the record at %s@%d %s", b.Timestamp.UTC(), v.c.from, a.Offset, a.Timestamp.UTC())
	}
	at, err := time.Parse(time.RFC3339Nano, header(a, headerTime))
	if err != nil {
		return fmt.Errorf("reading %s@%d: %s: %w", v.c.from, a.Offset, headerTime, err)
	}
	want, err := v.codec.Decode(ctx, a.Value, at)
	if err != nil {
		return fmt.Errorf("decoding %s@%d: %w", v.c.from, a.Offset, err)
	}
	if o, ok := want.Value.(processing.Outcome); ok {
		o.CommandOffset = -1
		want.Value = o
	}
	encoded, err := v.codec.Encode(ctx, v.c.to.topic, want.Value)
	if err != nil {
		return fmt.Errorf("encoding %s@%d: %w", v.c.from, a.Offset, err)
	}
	got, err := v.codec.Decode(ctx, b.Value, at)
	if err != nil {
		v.differ(b, "cannot be decoded: %v", err)
	} else if !bytes.Equal(encoded, b.Value) {
		v.differ(b, "has value %s, the record at %s@%d %s, or it is not written as the newest version", v.show(got.Value), v.c.from, a.Offset, v.show(want.Value))
	}
	if wants, has := wantedHeaders(a, want.FullName, at), listHeaders(b.Headers); !slices.Equal(wants, has) {
		v.differ(b, "has headers %q, want %q", missingFrom(wants, has), missingFrom(has, wants))
	}
	if v.found.Count == was {
		v.topic.Alike++
	}
	return nil
}

// show writes a value as JSON, or as Go does.
func (v *comparison) show(value any) string {
	if text, err := v.codec.ToJSON(value); err == nil {
		return string(text)
	}
	return fmt.Sprintf("%+v", value)
}

// missingFrom returns what is in list and not in from.
func missingFrom(from, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(h string) bool { return slices.Contains(from, h) })
}

func listHeaders(headers []kgo.RecordHeader) []string {
	list := []string{}
	for _, h := range headers {
		list = append(list, h.Key+"="+string(h.Value))
	}
	slices.Sort(list)
	return list
}

// wantedHeaders are those that the copy of a record has to have: its own, but for those that say what is new of it.
func wantedHeaders(r *kgo.Record, fullName string, at time.Time) []string {
	anew := []kgo.RecordHeader{
		{Key: headerSpecVersion, Value: []byte("1.0")}, {Key: headerType, Value: []byte(fullName)}, {Key: headerSubject, Value: r.Key},
		{Key: headerTime, Value: []byte(at.UTC().Format(time.RFC3339Nano))}, {Key: headerContentType, Value: []byte(contentAvro)},
		{Key: headerCommandOffset, Value: []byte("-1")},
		{Key: headerMigratedFrom, Value: fmt.Appendf(nil, "%s/%d@%d command %s", r.Topic, r.Partition, r.Offset, header(r, headerCommandOffset))},
	}
	wanted := slices.Clone(anew)
	seen := map[string]bool{}
	for _, h := range r.Headers {
		again := h.Key != headerMigratedFrom && (indexOf(anew, h.Key) >= 0 || seen[h.Key])
		seen[h.Key] = true
		if !again {
			wanted = append(wanted, h)
		}
	}
	return listHeaders(wanted)
}
