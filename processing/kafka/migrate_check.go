package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// check returns a *MigrationRefusedError unless s may be copied, or is.
func (m *Migration) check(ctx context.Context, s *migrationState) error {
	if s.finished {
		return m.checkEnded(s)
	}
	for _, group := range []string{m.cfg.FromGroup, m.cfg.ToGroup} {
		err := checkIdle(ctx, m.adm, group)
		if errors.Is(err, ErrGroupBusy) {
			return refuseMigration("%v", err)
		}
		if err != nil {
			return err
		}
	}
	if err := m.checkCounts(s); err != nil {
		return err
	}
	if s.begun && s.markedFrom != m.cfg.From.Prefix {
		return refuseMigration("a migration from prefix %q to prefix %q was begun and is not finished: run that one again, or choose another --to-prefix", s.markedFrom, m.cfg.To.Prefix)
	}
	if !s.begun {
		if err := m.checkEmpty(s); err != nil {
			return err
		}
	}
	if err := m.checkSource(s); err != nil {
		return err
	}
	return m.checkDecided(ctx, s)
}

// checkEnded refuses to take a migration for finished whose source has grown since.
func (m *Migration) checkEnded(s *migrationState) error {
	for _, c := range s.sorted() {
		if c.marks.high > c.next {
			return refuseMigration("the migration to prefix %q was finished at offset %d of %s, which has grown to %d since: what an ingest of prefix %q did there is not copied; choose another --to-prefix and begin anew", m.cfg.To.Prefix, c.next, c.from, c.marks.high, m.cfg.From.Prefix)
		}
	}
	return nil
}

// checkCounts refuses topics that differ in the number of their partitions.
func (m *Migration) checkCounts(s *migrationState) error {
	counts := map[string]int{}
	for tp := range s.marks {
		counts[tp.topic]++
	}
	for _, a := range m.cfg.Aggregates {
		for _, topic := range []func(Topics, string) string{Topics.Commands, Topics.Events, Topics.Outcomes} {
			from, to := topic(m.cfg.From, a.Name), topic(m.cfg.To, a.Name)
			if counts[from] != counts[to] {
				return refuseMigration("%s has %d partitions and %s %d: keys would move; run provision apply --partitions %d with a --to-prefix that is not in use", from, counts[from], to, counts[to], counts[from])
			}
		}
	}
	return nil
}

// checkEmpty refuses new topics that hold anything.
func (m *Migration) checkEmpty(s *migrationState) error {
	for tp, at := range s.fresh {
		if at.At >= 0 {
			return refuseMigration("group %s has decided commands of %s already: choose another --to-prefix", m.cfg.ToGroup, tp)
		}
	}
	for tp, one := range s.marks {
		if _, kind := m.cfg.To.Parse(tp.topic); m.isFresh(tp.topic) && one.high > 0 {
			return refuseMigration("%s has %s that no migration wrote: choose another --to-prefix", tp, kind)
		}
	}
	return nil
}

func (m *Migration) isFresh(topic string) bool {
	return slices.ContainsFunc(m.cfg.Aggregates, func(a *processing.Aggregate) bool {
		return topic == m.cfg.To.Commands(a.Name) || topic == m.cfg.To.Events(a.Name) || topic == m.cfg.To.Outcomes(a.Name)
	})
}

// checkSource refuses logs that are not whole.
func (m *Migration) checkSource(s *migrationState) error {
	for _, c := range s.sorted() {
		if c.kind == eventsKind && c.marks.start > 0 {
			return refuseMigration("log of events %s begins at %d, not at 0: it is not whole; restore it", c.from, c.marks.start)
		}
		if c.stable < c.marks.high {
			return refuseMigration("a transaction is open in %s: wait until it has ended, some 20 s after its process, and run this again (one that stays open: docs/guides/hanging-transactions.md)", c.from)
		}
		if c.next > c.marks.high {
			return refuseMigration("%s ends at %d, but is copied up to %d: the topic was recreated or truncated; choose another --to-prefix", c.from, c.marks.high, c.next)
		}
		known, ok, err := m.oldMetadata(s, c)
		if err != nil {
			return err
		}
		last := known.LastEvent
		if c.kind == outcomesKind {
			last = known.LastOutcome
		}
		if ok && c.marks.high <= last && c.marks.start <= last {
			return refuseMigration("%s ends at %d, but group %s has written %d: the log is not whole; restore it", c.from, c.marks.high, m.cfg.FromGroup, last)
		}
	}
	return nil
}

// oldMetadata returns what the old workers have committed for the partition of commands that c belongs to.
func (m *Migration) oldMetadata(s *migrationState, c *copying) (known processing.Metadata, ok bool, err error) {
	commands := topicPartition{m.cfg.From.Commands(c.aggregate), c.from.partition}
	at := s.old[commands]
	if at.At < 0 {
		return known, false, nil
	}
	if err := unfinished(m.cfg.From, at.Metadata); err != nil {
		return known, false, refuseMigration("%v", err)
	}
	if known, err = processing.ParseMetadata(at.Metadata); err != nil {
		return known, false, refuseMigration("group %s has an offset of %s that no worker committed: %v; start and stop ingest of prefix %q, which says what to type", m.cfg.FromGroup, commands, err, m.cfg.From.Prefix)
	}
	return known, true, nil
}

// checkDecided refuses to leave commands behind that nobody has decided.
func (m *Migration) checkDecided(ctx context.Context, s *migrationState) error {
	r, err := newReader(m.cfg.Client)
	if err != nil {
		return err
	}
	defer r.close()
	next := map[topicPartition]int64{}
	outcomes := map[topicPartition]span{} // those since the last commit: they may say that more is decided
	for tp, c := range s.copies {
		if c.kind != outcomesKind {
			continue
		}
		known, ok, err := m.oldMetadata(s, c)
		if err != nil {
			return err
		}
		if !ok {
			known.LastOutcome = 0
		}
		outcomes[tp] = span{max(known.LastOutcome, c.marks.start), c.marks.high}
		commands := topicPartition{m.cfg.From.Commands(c.aggregate), tp.partition}
		next[commands] = max(s.old[commands].At, s.marks[commands].start)
	}
	err = r.read(ctx, outcomes, func(rec *kgo.Record) error {
		aggregate, _ := m.cfg.From.Parse(rec.Topic)
		tp := topicPartition{m.cfg.From.Commands(aggregate), rec.Partition}
		if input, err := strconv.ParseInt(header(rec, headerCommandOffset), 10, 64); err == nil {
			next[tp] = max(next[tp], input+1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	waiting, first := 0, ""
	spans := map[topicPartition]span{}
	for tp, from := range next {
		spans[tp] = span{from, s.marks[tp].high}
	}
	err = r.read(ctx, spans, func(rec *kgo.Record) error {
		if waiting++; first == "" {
			first = fmt.Sprintf("%s/%d@%d", rec.Topic, rec.Partition, rec.Offset)
		}
		return nil
	})
	if err == nil && waiting > 0 {
		err = refuseMigration("%d commands are not decided yet, as the one at %s, and would be left behind: start ingest of prefix %q, wait until it has decided them, stop it and run this again", waiting, first, m.cfg.From.Prefix)
	}
	return err
}
