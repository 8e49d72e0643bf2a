package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/app"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/schemas"
)

const (
	partitions = 6
	brokers    = 3
	group      = "prove.ingest"

	commandsTopic = "tally.commands"
	eventsTopic   = "tally.events"
	outcomesTopic = "tally.outcomes"
	lettersTopic  = "tally.dead-letters"
)

var topics = []string{commandsTopic, eventsTopic, outcomesTopic, lettersTopic}

// world is one run: brokers, processes and clients.
type world struct {
	t       *testing.T
	began   time.Time
	hist    *history.Writer
	log     *slog.Logger
	net     kfake.VirtualNetwork
	cluster *kfake.Cluster
	// old says that brokers and clients speak transactions of version 1.
	old        bool
	codec      *schemas.Codec
	registry   *registry
	bindings   map[string]*schemas.Schema // by simple name
	aggregates []*processing.Aggregate
	answers    *answers
	snapshots  *snapshots
	ids        *sentCommands
	goes       sync.WaitGroup // what must end before the bubble does

	mu        sync.Mutex
	rng       *rand.Rand
	slots     map[string]*process // the newest of each slot
	processes []*process
	// era counts the times in which nothing of the time before goes on: who was to come back in one that
	// is over does not.
	era int
}

// run is one run, from the first broker to the dump of the log.
func run(t *testing.T, seed uint64, hist *history.Writer, logFile string) {
	w := &world{
		t: t, began: time.Now(), hist: hist,
		rng: rand.New(rand.NewPCG(seed, 0)), slots: map[string]*process{}, ids: &sentCommands{}, snapshots: newSnapshots(),
	}
	f, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w.log = slog.New(slog.NewTextHandler(f, nil))
	w.old = w.intN(4) == 0
	w.startBrokers()
	w.answers = newAnswers(w)
	w.live()
	w.settle()
	w.stopAll()
	end := hist.Close
	if err := w.dump(); err != nil {
		t.Error(err)
		end = hist.Abandon
	}
	w.goes.Wait()
	pause(time.Minute) // for sessions whose end took so long that they were left behind
	w.answers.close()
	w.cluster.Close()
	if err := end(); err != nil {
		t.Error(err)
	}
}

func (w *world) startBrokers() {
	opts := []kfake.Opt{
		kfake.NumBrokers(brokers), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(w.net.Listen), kfake.SeedTopics(partitions, topics...),
	}
	if w.old {
		opts = append(opts, kfake.MaxVersions(kversion.V3_7_0()))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cluster = cluster
	w.aggregates = app.App.Aggregates
	bindings, err := processing.Bindings(app.App.Schemas, w.aggregates)
	if err != nil {
		w.t.Fatal(err)
	}
	w.registry = &registry{ids: map[string]int{}, texts: map[int]string{}}
	w.bindings = map[string]*schemas.Schema{}
	for i, b := range bindings {
		w.registry.ids[b.Schema.Text()], w.registry.texts[i+1] = i+1, b.Schema.Text()
		w.bindings[b.Schema.Name()] = b.Schema
	}
	if w.codec, err = schemas.NewCodec(w.registry, bindings...); err != nil {
		w.t.Fatal(err)
	}
}

// registry knows all schemas from the start.
type registry struct {
	ids   map[string]int
	texts map[int]string
}

func (r *registry) SchemaByID(_ context.Context, id int) (string, error) {
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

// live is the run's life: a time of faults, perhaps a day without any worker, and another time of faults.
func (w *world) live() {
	for i := range 1 + w.intN(3) {
		w.launch(slotName(i))
	}
	faults := func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.inflict(ctx)
		}()
		return func() { cancel(); <-done }
	}
	stop := faults()
	w.clients(30)
	stop()
	if w.intN(3) == 0 {
		w.settle() // an id without a time that waited for a day would be decided again
		w.sleepADay()
	} else {
		w.replaceAll()
	}
	stop = faults()
	w.clients(12)
	stop()
}

// settle ends all faults and waits until every command is decided, for as long as a run can be expected
// to need: what is not decided then, the checker will find.
func (w *world) settle() {
	w.mu.Lock()
	w.era++
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.net.disarm()
		p.net.thaw()
	}
	adm := kadm.NewClient(w.plain())
	defer adm.Close()
	quiet, h := 0, &helper{w: w, adm: adm, gone: map[string]int{}}
	for range 300 {
		for i := range 2 {
			if p := w.current(slotName(i)); p == nil || p.over() || p.net.isCut() {
				w.launch(slotName(i))
			}
		}
		pause(time.Second)
		if w.isSettled(adm) {
			quiet++
		} else {
			quiet = 0
		}
		if quiet == 3 {
			return
		}
		h.help()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := adm.DescribeGroups(ctx, group)
	offsets, _ := adm.FetchOffsets(ctx, group)
	w.log.Error("commands are not decided", "group", groups, "offsets", offsets, "err", err)
}

// helper helps the embedded broker's group out of what no Kafka gets into. A member whose connection is gone
// when its JoinGroup or SyncGroup is answered has no session that could end, and each join begins the
// rebalance timeout of 20 s anew, which others ask for every 30 s.
type helper struct {
	w   *world
	adm *kadm.Client
	// joining counts the seconds of a rebalance, gone those for which a member has been without a process.
	joining int
	gone    map[string]int
}

// help is called about every second. It expels a member, or stops all processes so that the timeout ends the
// rebalance, after far longer than any timeout is.
func (h *helper) help() {
	const tooLong = 40
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups, err := h.adm.DescribeGroups(ctx, group)
	if err != nil {
		return
	}
	if h.joining++; groups[group].State != "PreparingRebalance" {
		h.joining = 0
	}
	if h.joining > tooLong {
		h.joining = 0
		h.w.stopAll()
		h.w.fault("embedded-group-stuck", group)
		pause(25 * time.Second)
		return
	}
	for _, m := range groups[group].Members {
		slot := *m.InstanceID
		if h.gone[slot]++; h.w.has(slot) {
			h.gone[slot] = 0
		}
		if h.gone[slot] > tooLong {
			h.w.fault("embedded-member-stuck", slot)
			_, _ = h.adm.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs(slot)) // else in the next second
		}
	}
}

// has reports whether any process of a slot runs, be it the newest or not.
func (w *world) has(slot string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.processes, func(p *process) bool { return p.slot == slot && !p.over() && !p.net.isCut() })
}

func (w *world) isSettled(adm *kadm.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ends, err := adm.ListEndOffsets(ctx, commandsTopic, outcomesTopic)
	if err != nil {
		return false
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return false
	}
	last, ok := w.answers.reached(ends)
	for p := range int32(partitions) {
		at, found := committed.Lookup(commandsTopic, p)
		if last[p] >= 0 && (!found || at.At <= last[p]) {
			return false
		}
	}
	return ok
}

// dump writes down what a plain client reads of all topics.
func (w *world) dump() error {
	pause(15 * time.Second) // for transactions of the dead to time out
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl := w.plain(kgo.ConsumeTopics(topics...), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
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
				w.record(r)
			}
		})
	}
	return nil
}

func (w *world) record(r *kgo.Record) {
	record := history.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, [2]string{h.Key, string(h.Value)})
	}
	w.hist.Record(record)
}

// plain returns a client that nothing happens to.
func (w *world) plain(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.MetadataMinAge(20 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}

func (w *world) at() int64 { return int64(time.Since(w.began)) }

func (w *world) fault(kind, target string) {
	w.hist.Fault(history.Fault{At: w.at(), Kind: kind, Target: target})
}

// intN draws a number below n. Draws of different goroutines come in any order.
func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// between draws a duration.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.intN(int(to-from)))
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
