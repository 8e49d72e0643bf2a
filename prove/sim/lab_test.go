package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/app"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/schemas"
)

const (
	brokers = 3

	commandsTopic = "tally.commands"
	eventsTopic   = "tally.events"
	outcomesTopic = "tally.outcomes"
	lettersTopic  = "tally.dead-letters"
)

// lab is what every run has: brokers, a clock, a source of chance and a history.
type lab struct {
	t          *testing.T
	began      time.Time
	hist       *history.Writer
	log        *slog.Logger
	net        kfake.VirtualNetwork
	cluster    *kfake.Cluster
	codec      *schemas.Codec
	registry   *registry
	bindings   map[string]*schemas.Schema // by simple name
	aggregates []*processing.Aggregate
	goes       sync.WaitGroup // what must end before the bubble does

	mu  sync.Mutex
	rng *rand.Rand
}

// newLab opens the log file; the caller closes it.
func newLab(t *testing.T, seed uint64, hist *history.Writer, logFile string) (*lab, *os.File) {
	f, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, began: time.Now(), hist: hist, log: slog.New(slog.NewTextHandler(f, nil)), rng: rand.New(rand.NewPCG(seed, 0))}, f
}

// startBrokers starts the brokers with topics of so many partitions.
func (l *lab) startBrokers(partitions int32, topics []string, opts ...kfake.Opt) {
	var err error
	l.cluster, err = kfake.NewCluster(append(opts,
		kfake.NumBrokers(brokers), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(l.net.Listen), kfake.SeedTopics(partitions, topics...))...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.aggregates = app.App.Aggregates
	bindings, err := processing.Bindings(app.App.Schemas, l.aggregates)
	if err != nil {
		l.t.Fatal(err)
	}
	l.registry = &registry{l: l, ids: map[string]int{}, texts: map[int]string{}}
	l.bindings = map[string]*schemas.Schema{}
	for i, b := range bindings {
		l.registry.ids[b.Schema.Text()], l.registry.texts[i+1] = i+1, b.Schema.Text()
		l.bindings[b.Schema.Name()] = b.Schema
	}
	l.codec = l.newCodec()
}

// newCodec returns one that knows nothing yet, as a process has that begins.
func (l *lab) newCodec() *schemas.Codec {
	bindings, err := processing.Bindings(app.App.Schemas, l.aggregates)
	if err != nil {
		l.t.Fatal(err)
	}
	codec, err := schemas.NewCodec(l.registry, bindings...)
	if err != nil {
		l.t.Fatal(err)
	}
	return codec
}

// registry has all schemas from the start. It may be silent about some of them for a while.
type registry struct {
	l     *lab
	ids   map[string]int
	texts map[int]string

	mu     sync.Mutex
	untold map[int]untold
}

// untold says of a schema that it is not told until then, as the fault of that name; slow is whether there is no
// answer at all.
type untold struct {
	name  string
	until time.Time
	slow  bool
}

func (r *registry) withhold(id int, u untold) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.untold == nil {
		r.untold = map[int]untold{}
	}
	r.untold[id] = u
}

func (r *registry) tellAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold = nil
}

var errUntold = errors.New("the registry does not answer")

func (r *registry) SchemaByID(ctx context.Context, id int) (string, error) {
	r.mu.Lock()
	u, ok := r.untold[id]
	r.mu.Unlock()
	if ok && time.Now().Before(u.until) {
		r.l.fault(u.name, "schema "+strconv.Itoa(id))
		if u.slow {
			pauseCtx(ctx, min(5*time.Second, time.Until(u.until)))
		}
		if !u.slow || time.Now().Before(u.until) {
			return "", errUntold
		}
	}
	if text, ok := r.texts[id]; ok {
		return text, nil
	}
	return "", schemas.ErrNotRegistered
}

func (r *registry) SchemaID(_ context.Context, _, text string) (int, error) {
	if id, ok := r.ids[text]; ok {
		return id, nil
	}
	return 0, schemas.ErrNotRegistered
}

// dump writes down what a plain client reads of all topics.
func (l *lab) dump(topics []string) error {
	pause(15 * time.Second) // for transactions of the dead to time out
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl := l.plain(kgo.ConsumeTopics(topics...), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("listing the ends of the log: %w", err)
	}
	left := map[string]map[int32]int64{}
	n := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			if left[o.Topic] == nil {
				left[o.Topic] = map[int32]int64{}
			}
			left[o.Topic][o.Partition] = o.Offset
			n++
		}
	})
	for n > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("dumping the log: %d partitions do not end", n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, ok := left[r.Topic][r.Partition]
			if ok && r.Offset+1 >= end {
				delete(left[r.Topic], r.Partition)
				n--
			}
			if ok && r.Offset < end && !r.Attrs.IsControl() {
				l.record(r)
			}
		})
	}
	return nil
}

func (l *lab) record(r *kgo.Record) {
	record := history.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, [2]string{h.Key, string(h.Value)})
	}
	l.hist.Record(record)
}

// plain returns a client that nothing happens to.
func (l *lab) plain(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.cluster.ListenAddrs()...), kgo.Dialer(l.net.DialContext), kgo.MetadataMinAge(20 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return cl
}

func (l *lab) at() int64 { return int64(time.Since(l.began)) }

func (l *lab) fault(kind, target string) {
	l.hist.Fault(history.Fault{At: l.at(), Kind: kind, Target: target})
}

// intN draws a number below n. Draws of different goroutines come in any order.
func (l *lab) intN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(n)
}

// between draws a duration.
func (l *lab) between(from, to time.Duration) time.Duration {
	return from + time.Duration(l.intN(int(to-from)))
}

// pause waits in simulated time.
func pause(d time.Duration) { <-time.After(d) }

// pauseCtx returns false if ctx ends first.
func pauseCtx(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func slotName(i int) string { return "slot-" + strconv.Itoa(i) }
