package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// MigratedTopic is what is copied of a topic.
type MigratedTopic struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Copied is how many records were copied before, Records how many are now, or would be. Rewritten is how many
	// events of these have other bytes than before: they were written as an earlier version of their schema.
	Copied    int64 `json:"copied"`
	Records   int64 `json:"records"`
	Rewritten int64 `json:"rewritten"`
}

// MigrationPlan is what [Migration.Run] did, or would do.
type MigrationPlan struct {
	// State is what was found: "new", "begun" or "finished".
	State  string          `json:"state"`
	Topics []MigratedTopic `json:"topics"`
	// Refusal is why nothing would be copied, "" if it would.
	Refusal string `json:"refusal,omitempty"`
}

func (m *Migration) newPlan(s *migrationState) (*MigrationPlan, map[string]*MigratedTopic) {
	plan := &MigrationPlan{State: "new"}
	switch {
	case s.begun:
		plan.State = "begun"
	case s.finished:
		plan.State = "finished"
	}
	for _, a := range m.cfg.Aggregates {
		plan.Topics = append(plan.Topics,
			MigratedTopic{From: m.cfg.From.Events(a.Name), To: m.cfg.To.Events(a.Name)}, MigratedTopic{From: m.cfg.From.Outcomes(a.Name), To: m.cfg.To.Outcomes(a.Name)})
	}
	byTopic := map[string]*MigratedTopic{}
	for i := range plan.Topics {
		byTopic[plan.Topics[i].From] = &plan.Topics[i]
	}
	for _, c := range s.copies {
		byTopic[c.from.topic].Copied += c.records
	}
	return plan, byTopic
}

// Plan says what Run would do. It decodes and encodes all that would be copied: an event that cannot be decoded is
// a refusal, too.
func (m *Migration) Plan(ctx context.Context) (MigrationPlan, error) {
	s, err := m.look(ctx)
	if err != nil {
		return MigrationPlan{}, err
	}
	plan, topics := m.newPlan(s)
	var refused *MigrationRefusedError
	if err := m.check(ctx, s); errors.As(err, &refused) {
		plan.Refusal = refused.Reason
	} else if err != nil {
		return *plan, err
	}
	err = m.read(ctx, s, func(c *copying, r *kgo.Record) error {
		_, rewritten, err := m.copyOf(ctx, c, r)
		topics[r.Topic].count(rewritten)
		return err
	})
	var bad *eventError
	if errors.As(err, &bad) {
		plan.Refusal, err = strings.TrimPrefix(plan.Refusal+"; "+bad.Error(), "; "), nil
	}
	return *plan, err
}

func (t *MigratedTopic) count(rewritten bool) {
	t.Records++
	if rewritten {
		t.Rewritten++
	}
}

// read visits all records that are not copied yet.
func (m *Migration) read(ctx context.Context, s *migrationState, visit func(*copying, *kgo.Record) error) error {
	r, err := newReader(m.cfg.Client)
	if err != nil {
		return err
	}
	defer r.close()
	spans := map[topicPartition]span{}
	for tp, c := range s.copies {
		spans[tp] = span{max(c.next, c.marks.start), c.marks.high}
	}
	return r.read(ctx, spans, func(rec *kgo.Record) error {
		return visit(s.copies[topicPartition{rec.Topic, rec.Partition}], rec)
	})
}

// copyOf makes the copy of a record: decoded as everybody decodes, encoded as workers write. rewritten says that
// it is an event with other bytes, beyond the schema's id.
func (m *Migration) copyOf(ctx context.Context, c *copying, r *kgo.Record) (made *kgo.Record, rewritten bool, err error) {
	to := &wire{topics: m.cfg.To, codec: m.cfg.Codec, source: header(r, headerSource)}
	var command int64
	if c.kind == eventsKind {
		var e processing.Event
		if e, err = m.from.event(ctx, c.aggregate, r); err != nil {
			return nil, false, err
		}
		command, e.CommandOffset = e.CommandOffset, -1
		made, err = to.eventRecord(ctx, e)
	} else {
		var o processing.Outcome
		if o, command, err = m.from.outcome(ctx, r); err != nil {
			return nil, false, err
		}
		o.CommandOffset = -1
		made, err = to.outcomeRecord(ctx, r.Partition, &o, -1)
	}
	if err != nil {
		return nil, false, fmt.Errorf("copying %s@%d: %w", c.from, r.Offset, err)
	}
	if c.kind == eventsKind {
		rewritten = len(r.Value) < frameBytes || !bytes.Equal(r.Value[frameBytes:], made.Value[frameBytes:])
	}
	made.Timestamp = r.Timestamp
	kept := headers(made.Headers)
	kept.add(headerMigratedFrom, migratedFrom(r, command))
	for _, h := range r.Headers {
		if i := indexOf(made.Headers, h.Key); i < 0 {
			kept = append(kept, h)
		} else if h.Key == headerID {
			kept[i].Value = h.Value // that of an outcome is made of the command's place
		}
	}
	made.Headers = kept
	return made, rewritten, nil
}

const frameBytes = 5

func indexOf(headers []kgo.RecordHeader, key string) int {
	for i := range headers {
		if headers[i].Key == key {
			return i
		}
	}
	return -1
}

func migratedFrom(r *kgo.Record, command int64) string {
	return fmt.Sprintf("%s/%d@%d command %d", r.Topic, r.Partition, r.Offset, command)
}

// Run copies what is not copied yet, and has the workers of the new prefix begin where the old ones ended. Killed
// or ended by ctx, it goes on exactly there when it is run again. It returns a *MigrationRefusedError if nothing
// may be copied, and another error, that says so, if another migration to the prefix has begun.
func (m *Migration) Run(ctx context.Context) (MigrationPlan, error) {
	t, err := m.newMover(ctx)
	if err != nil {
		return MigrationPlan{}, m.fenced(err)
	}
	defer t.cl.Close()
	s, err := m.look(ctx)
	if err == nil {
		err = m.check(ctx, s)
	}
	if err != nil {
		return MigrationPlan{}, err
	}
	plan, topics := m.newPlan(s)
	if s.finished {
		return *plan, nil
	}
	if err := m.mark(ctx, s); err != nil { // again, so that it does not expire
		return *plan, err
	}
	t.start(s)
	err = m.read(ctx, s, func(c *copying, r *kgo.Record) error {
		made, rewritten, err := m.copyOf(ctx, c, r)
		if err != nil {
			return err
		}
		topics[r.Topic].count(rewritten)
		return t.add(ctx, c, r, made)
	})
	if err == nil {
		err = t.commit(ctx)
	}
	if err == nil {
		err = m.unchanged(ctx, s)
	}
	if err == nil {
		err = t.finish(ctx, s)
	}
	return *plan, m.fenced(err)
}

func (m *Migration) fenced(err error) error {
	if isFenced(err) || errors.Is(err, kerr.InvalidProducerEpoch) {
		return fmt.Errorf("another migration to prefix %q was begun, which goes on in place of this one: %w", m.cfg.To.Prefix, err)
	}
	return err
}

// mark has the new workers wait. The brokers refuse it if one has come since.
func (m *Migration) mark(ctx context.Context, s *migrationState) error {
	offsets := kadm.Offsets{}
	for tp := range s.fresh {
		offsets.Add(kadm.Offset{Topic: tp.topic, Partition: tp.partition, At: 0, LeaderEpoch: -1, Metadata: fmt.Sprintf(markFormat, m.cfg.From.Prefix)})
	}
	committed, err := m.adm.CommitOffsets(ctx, m.cfg.ToGroup, offsets)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return fmt.Errorf("marking group %s as one that has to wait: %w", m.cfg.ToGroup, err)
	}
	return nil
}

// unchanged refuses to finish if the old workers have written since.
func (m *Migration) unchanged(ctx context.Context, s *migrationState) error {
	now, err := m.look(ctx)
	if err != nil {
		return err
	}
	if err := m.check(ctx, now); err != nil {
		return err
	}
	for tp, c := range s.copies {
		if now.copies[tp].marks.high != c.marks.high {
			return refuseMigration("%s has grown from %d to %d meanwhile: stop every ingest of prefix %q and run this again", tp, c.marks.high, now.copies[tp].marks.high, m.cfg.From.Prefix)
		}
	}
	return nil
}
