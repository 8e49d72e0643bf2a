package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/schemas"
)

// LogConfig configures a [Log] and a [Consumer].
type LogConfig struct {
	Client ClientConfig
	Topics Topics
	// Aggregates whose events are read.
	Aggregates []string
	Codec      *schemas.Codec
	// MaxBatch is the most events delivered at once. Defaults to 2500.
	MaxBatch int
}

func (c *LogConfig) check() error {
	if len(c.Aggregates) == 0 || c.Codec == nil {
		return errors.New("log: aggregates and codec are required")
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 2500
	}
	return c.Client.check()
}

func (c *LogConfig) topics() []string {
	topics := make([]string, len(c.Aggregates))
	for i, a := range c.Aggregates {
		topics[i] = c.Topics.Events(a)
	}
	return topics
}

// tail reads sources on from a position, which its one caller may move at will.
type tail struct {
	cl        *kgo.Client
	wire      *wire
	max       int
	positions map[readstore.Source]int64
	// held are the sources that wait at their position for a schema. It needs wire.lookups: without, poll waits.
	held map[readstore.Source]*undecoded
}

func newTail(c LogConfig) (*tail, error) {
	r, err := newReader(c.Client)
	if err != nil {
		return nil, err
	}
	return &tail{
		cl: r.cl, wire: &wire{topics: c.Topics, codec: c.Codec}, max: c.MaxBatch,
		positions: map[readstore.Source]int64{}, held: map[readstore.Source]*undecoded{},
	}, nil
}

func (t *tail) close() {
	t.cl.Close()
	t.wire.lookups.close()
}

// seek reads sources from these offsets on, adding those that are new.
func (t *tail) seek(from map[readstore.Source]int64) {
	if len(from) == 0 {
		return
	}
	var known []readstore.Source
	add := map[string]map[int32]kgo.Offset{}
	for s, offset := range from {
		if _, ok := t.positions[s]; ok {
			known = append(known, s)
		}
		t.positions[s] = offset
		delete(t.held, s)
		topic := t.wire.topics.Events(s.Aggregate)
		if add[topic] == nil {
			add[topic] = map[int32]kgo.Offset{}
		}
		add[topic][s.Partition] = kgo.NewOffset().At(offset)
	}
	t.unread(known)
	t.cl.AddConsumePartitions(add)
}

// remove stops reading sources.
func (t *tail) remove(sources []readstore.Source) {
	t.unread(sources)
	for _, s := range sources {
		delete(t.positions, s)
		delete(t.held, s)
	}
}

// readOn reads the sources on whose schema is told.
func (t *tail) readOn() {
	from := map[readstore.Source]int64{}
	for s, u := range t.held {
		if u.answered() {
			from[s] = t.positions[s]
		}
	}
	t.seek(from)
}

// waits returns why sources are held, nil if none is or the registry only takes its time.
func (t *tail) waits() error {
	for _, u := range t.held {
		if why := u.why(); why != nil {
			return fmt.Errorf("%d partitions of events wait, %s for one: %w: %w", len(t.held), u.at, errUnready, why)
		}
	}
	return nil
}

func (t *tail) unread(sources []readstore.Source) {
	if len(sources) == 0 {
		return
	}
	gone := map[string][]int32{}
	for _, s := range sources {
		topic := t.wire.topics.Events(s.Aggregate)
		gone[topic] = append(gone[topic], s.Partition)
	}
	t.cl.RemoveConsumePartitions(gone)
}

// poll returns the next events; none if ctx ends first, or if none come within wait, 0 for no limit.
// An error leaves the positions where they were: the next poll meets the same events again.
func (t *tail) poll(ctx context.Context, wait time.Duration) (processing.Fetched, error) {
	in := processing.Fetched{From: map[readstore.Source]int64{}, Upto: map[readstore.Source]int64{}}
	t.readOn()
	// The limit is none for decoding, which may ask a slow registry.
	pctx, cancel := ctx, context.CancelFunc(func() {})
	if wait > 0 {
		pctx, cancel = context.WithTimeout(ctx, wait)
	}
	fetches := t.cl.PollRecords(pctx, t.max)
	cancel()
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, context.DeadlineExceeded) {
			return in, t.again(fmt.Errorf("reading events %s/%d: %w", e.Topic, e.Partition, e.Err))
		}
	}
	t.wire.lookups.begin()
	var failed error
	var held []readstore.Source
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		aggregate, _ := t.wire.topics.Parse(f.Topic)
		s := readstore.Source{Aggregate: aggregate, Partition: f.Partition}
		position, ok := t.positions[s]
		if !ok || len(f.Records) == 0 || failed != nil {
			return
		}
		in.From[s] = position
		for _, r := range f.Records {
			if r.Attrs.IsControl() {
				continue
			}
			e, err := t.wire.delivered(ctx, aggregate, r)
			if untold, ok := errors.AsType[*untoldError](err); ok {
				held = append(held, s)
				t.held[s] = newUndecoded(untold, r)
				if in.Upto[s] = r.Offset; r.Offset == position { // nothing moves
					delete(in.From, s)
					delete(in.Upto, s)
				}
				return
			}
			if err != nil {
				failed = err
				return
			}
			in.Events = append(in.Events, e)
		}
		in.Upto[s] = f.Records[len(f.Records)-1].Offset + 1
	})
	if failed != nil {
		return processing.Fetched{}, t.again(failed)
	}
	for s, next := range in.Upto {
		t.positions[s] = next
	}
	t.unread(held)
	return in, nil
}

// again puts the client back to where the positions are.
func (t *tail) again(cause error) error {
	from := map[readstore.Source]int64{}
	for s, p := range t.positions {
		from[s] = p
	}
	t.seek(from)
	return cause
}

// Log implements processing.Log and processing.EventReader on the events topics.
type Log struct {
	cfg LogConfig
	cl  *kgo.Client
	adm *kadm.Client
	// readers are lent by borrow; one without a client is opened when it is first needed.
	readers chan *reader
}

// eventReaders is how many calls of EventsAt, DeadLetters and DeadLetter read at once.
const eventReaders = 4

// NewLog checks the configuration and makes a client, which connects when it is used.
func NewLog(cfg LogConfig) (*Log, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(clientOptions(cfg.Client)...)
	if err != nil {
		return nil, fmt.Errorf("making a client of %v: %w", cfg.Client.Brokers, err)
	}
	l := &Log{cfg: cfg, cl: cl, adm: kadm.NewClient(cl), readers: make(chan *reader, eventReaders)}
	for range eventReaders {
		l.readers <- &reader{}
	}
	return l, nil
}

// Close waits for the calls that read and closes the connections.
func (l *Log) Close() {
	for range eventReaders {
		if r := <-l.readers; r.cl != nil {
			r.close()
		}
	}
	l.cl.Close()
}

// Identity implements processing.Log.
func (l *Log) Identity(ctx context.Context) (processing.Identity, error) {
	var topics []Topic
	for _, a := range l.cfg.Aggregates {
		for _, t := range l.cfg.Topics.Of(a, 0) {
			if t.Name == l.cfg.Topics.Events(a) {
				topics = append(topics, t)
			}
		}
	}
	c, err := Describe(ctx, l.cfg.Client, topics)
	if err != nil {
		return processing.Identity{}, err
	}
	id := processing.Identity{ClusterID: c.ID, TopicIDs: map[string]string{}, Partitions: map[string]int32{}}
	for _, a := range l.cfg.Aggregates {
		t := c.Topics[l.cfg.Topics.Events(a)]
		id.TopicIDs[a], id.Partitions[a] = t.ID, t.Partitions
	}
	return id, nil
}

// Marks implements processing.Log. End is the high watermark: an open transaction lies below it.
func (l *Log) Marks(ctx context.Context, aggregates []string) (map[readstore.Source]processing.Mark, error) {
	var topics []string
	for _, a := range aggregates {
		topics = append(topics, l.cfg.Topics.Events(a))
	}
	high, err := readMarks(ctx, l.adm, topics...)
	if err != nil {
		return nil, err
	}
	m := map[readstore.Source]processing.Mark{}
	for tp, mark := range high {
		aggregate, _ := l.cfg.Topics.Parse(tp.topic)
		m[readstore.Source{Aggregate: aggregate, Partition: tp.partition}] = processing.Mark{Start: mark.start, End: mark.high}
	}
	return m, nil
}

// Read implements processing.Log.
func (l *Log) Read(ctx context.Context, from map[readstore.Source]int64, visit func(processing.Fetched) (map[readstore.Source]int64, error)) error {
	t, err := newTail(l.cfg)
	if err != nil {
		return err
	}
	defer t.close()
	t.seek(from)
	for {
		in, err := t.poll(ctx, 0)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		rewind, err := visit(in)
		if err != nil {
			return err
		}
		t.seek(rewind)
	}
}
