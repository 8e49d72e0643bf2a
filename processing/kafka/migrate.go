package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

// MigrationConfig configures a [Migration]. All but MaxBatch, Now and Progress are required.
type MigrationConfig struct {
	Client ClientConfig
	// From names the topics that are copied, To those that are copied to.
	From, To Topics
	// Aggregates whose events and outcomes are copied.
	Aggregates []*processing.Aggregate
	// Codec decodes the ones and encodes the others.
	Codec *schemas.Codec
	// FromGroup and ToGroup are the groups of the workers of either. ToGroup also keeps how far From is copied.
	FromGroup, ToGroup string
	// Slot is the transactional id. All migrations to a prefix have the same: the one that comes later goes on,
	// the one before it ends.
	Slot string
	// MaxBatch is the most records in a transaction. Defaults to 2000.
	MaxBatch int
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Progress is told after each transaction how many offsets are dealt with, of how many. Defaults to nobody.
	Progress func(done, total int64)
}

// Migration copies the events and outcomes of aggregates to the topics of another prefix, written anew as the
// newest version of their schemas. It is used by one goroutine.
type Migration struct {
	cfg MigrationConfig
	cl  *kgo.Client
	adm *kadm.Client
	// from decodes.
	from *wire
}

// NewMigration checks the configuration. It connects to nothing yet.
func NewMigration(cfg MigrationConfig) (*Migration, error) {
	if cfg.From.Prefix == cfg.To.Prefix {
		return nil, fmt.Errorf("--to-prefix is the prefix that is copied from, %q: choose another", cfg.From.Prefix)
	}
	if len(cfg.Aggregates) == 0 || cfg.Codec == nil || cfg.FromGroup == "" || cfg.ToGroup == "" || cfg.Slot == "" {
		return nil, errors.New("migration: aggregates, codec, groups and slot are required")
	}
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 2000)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64, int64) {}
	}
	if err := cfg.Client.check(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(clientOptions(cfg.Client)...)
	if err != nil {
		return nil, fmt.Errorf("making a client of %v: %w", cfg.Client.Brokers, err)
	}
	return &Migration{cfg: cfg, cl: cl, adm: kadm.NewClient(cl), from: &wire{topics: cfg.From, codec: cfg.Codec}}, nil
}

// Close closes the connections.
func (m *Migration) Close() { m.cl.Close() }

// MigrationRefusedError says why nothing may be copied, and what to do about it.
type MigrationRefusedError struct{ Reason string }

func (e *MigrationRefusedError) Error() string { return e.Reason }

func refuseMigration(format string, args ...any) error {
	return &MigrationRefusedError{Reason: fmt.Sprintf(format, args...)}
}

// What is committed in the group of the new workers while they may not start, for each of their partitions; and
// for each partition that is copied, along with the offset up to which it is.
const (
	markFormat   = "ledgerline-migrating/1 from=%q"
	copiedFormat = "ledgerline-migrated/1 from=%q finished=%t last=%d lowest=%d records=%d"
)

// unfinished returns an error if the metadata of a committed offset says that these topics are being filled.
func unfinished(to Topics, metadata string) error {
	from, ok := markedFrom(metadata)
	if !ok {
		return nil
	}
	return fmt.Errorf("the topics of prefix %q are being filled from those of prefix %q, and are not whole yet; run: rebuild migrate --prefix %q --to-prefix %q", to.Prefix, from, from, to.Prefix)
}

// markedFrom returns from which prefix topics are being filled, and false if they are not.
func markedFrom(metadata string) (prefix string, ok bool) {
	if _, err := fmt.Sscanf(metadata, markFormat, &prefix); err == nil {
		return prefix, true
	}
	var c copying
	prefix, finished, err := c.parse(metadata)
	return prefix, err == nil && !finished
}

// CheckMigrated returns an error if a migration to these topics was begun and is not finished. Its workers could
// not recover.
func CheckMigrated(ctx context.Context, client ClientConfig, topics Topics, group string) error {
	cl, ctx, end, err := newStartClient(ctx, client)
	if err != nil {
		return err
	}
	defer end()
	var fetched kadm.OffsetResponses
	err = untilCoordinated(ctx, func() (err error) { // of a group that is new
		fetched, err = kadm.NewClient(cl).FetchOffsets(ctx, group) // marks may have expired, and what is copied not
		if err == nil {
			err = fetched.Error()
		}
		return err
	})
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	if err != nil {
		return cause(ctx, fmt.Errorf("fetching committed offsets of group %s: %w", group, err))
	}
	for _, o := range fetched.Offsets().Sorted() {
		if err := unfinished(topics, o.Metadata); err != nil {
			return err
		}
	}
	return nil
}

// copying is a partition of events or outcomes that is copied, and how far.
type copying struct {
	aggregate string
	kind      string
	from, to  topicPartition
	marks     marks // of from
	stable    int64 // its last stable offset: from there on, a transaction is open
	// next is the first offset that is not copied; last and lowest are offsets of copies, -1 for none: of the last
	// one, and of the first outcome by which a command id is known. records is how many there are.
	next, last, lowest, records int64
}

// metadata is what is committed along with c.next.
func (c *copying) metadata(from Topics, finished bool) string {
	return fmt.Sprintf(copiedFormat, from.Prefix, finished, c.last, c.lowest, c.records)
}

func (c *copying) parse(metadata string) (from string, finished bool, err error) {
	_, err = fmt.Sscanf(metadata, copiedFormat, &from, &finished, &c.last, &c.lowest, &c.records)
	return from, finished, err
}

// migrationState is what the brokers say of a migration.
type migrationState struct {
	// copies are by the partition that is copied.
	copies map[topicPartition]*copying
	// marks are of all topics, from and to; old and fresh what the workers of either have committed, by partition
	// of commands.
	marks      map[topicPartition]marks
	old, fresh map[topicPartition]kadm.Offset
	// begun says that the new topics are being filled, from the prefix markedFrom, finished that they were.
	markedFrom      string
	begun, finished bool
}

func (s *migrationState) sorted() []*copying {
	return slices.SortedFunc(maps.Values(s.copies), func(a, b *copying) int {
		return cmp.Or(cmp.Compare(a.from.topic, b.from.topic), cmp.Compare(a.from.partition, b.from.partition))
	})
}

// look asks the brokers how far the migration is. It asks for what is committed before it asks where logs end.
func (m *Migration) look(ctx context.Context) (*migrationState, error) {
	s := &migrationState{copies: map[topicPartition]*copying{}, finished: true}
	var topics []string
	for _, a := range m.cfg.Aggregates {
		for _, t := range []Topics{m.cfg.From, m.cfg.To} {
			topics = append(topics, t.Commands(a.Name), t.Events(a.Name), t.Outcomes(a.Name))
		}
	}
	before, err := readMarks(ctx, m.adm, topics...)
	if err != nil {
		return nil, err
	}
	oldCommands, freshCommands := map[topicPartition]bool{}, map[topicPartition]bool{}
	for _, a := range m.cfg.Aggregates {
		for tp := range before {
			p := tp.partition
			switch tp.topic {
			case m.cfg.From.Commands(a.Name):
				oldCommands[tp] = true
			case m.cfg.To.Commands(a.Name):
				freshCommands[tp] = true
			case m.cfg.From.Events(a.Name):
				s.copies[tp] = &copying{aggregate: a.Name, kind: eventsKind, from: tp, to: topicPartition{m.cfg.To.Events(a.Name), p}, last: -1, lowest: -1}
			case m.cfg.From.Outcomes(a.Name):
				s.copies[tp] = &copying{aggregate: a.Name, kind: outcomesKind, from: tp, to: topicPartition{m.cfg.To.Outcomes(a.Name), p}, last: -1, lowest: -1}
			}
		}
	}
	copied, err := stableOffsets(ctx, m.cl, m.cfg.ToGroup, s.copies)
	if err != nil {
		return nil, err
	}
	if s.old, err = stableOffsets(ctx, m.cl, m.cfg.FromGroup, oldCommands); err != nil {
		return nil, err
	}
	if s.fresh, err = stableOffsets(ctx, m.cl, m.cfg.ToGroup, freshCommands); err != nil {
		return nil, err
	}
	if s.marks, err = readMarks(ctx, m.adm, topics...); err != nil {
		return nil, err
	}
	stable, err := m.adm.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing last stable offsets: %w", err)
	}
	for tp, c := range s.copies {
		c.marks = s.marks[tp]
		last, _ := stable.Lookup(tp.topic, tp.partition)
		c.stable = last.Offset
		at := copied[tp]
		if at.At < 0 {
			s.finished = false
			continue
		}
		c.next = at.At
		from, finished, err := c.parse(at.Metadata)
		if err != nil {
			return nil, fmt.Errorf("group %s has an offset of %s that no migration committed: %q; choose another --to-prefix", m.cfg.ToGroup, tp, at.Metadata)
		}
		if !finished {
			s.markedFrom, s.begun, s.finished = from, true, false
		}
	}
	for _, at := range s.fresh {
		if from, ok := markedFrom(at.Metadata); ok {
			s.markedFrom, s.begun, s.finished = from, true, false
		}
	}
	return s, nil
}

// stableOffsets fetches committed offsets, and refuses while an open transaction is about to change one.
func stableOffsets[V any](ctx context.Context, cl *kgo.Client, group string, tps map[topicPartition]V) (map[topicPartition]kadm.Offset, error) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	var found map[topicPartition]kadm.Offset
	err := untilCoordinated(ctx, func() (err error) {
		found, err = committedOffsets(ctx, cl, group, tps)
		return err
	})
	if errors.Is(err, kerr.GroupIDNotFound) {
		found, err = map[topicPartition]kadm.Offset{}, nil
		for tp := range tps {
			found[tp] = kadm.Offset{At: -1}
		}
	}
	if err != nil {
		return nil, err
	}
	for tp := range tps {
		if _, ok := found[tp]; !ok {
			return nil, refuseMigration("a transaction of group %s is still open (on %s): wait until it has ended, some 20 s after its process, and run this again", group, tp)
		}
	}
	return found, nil
}
