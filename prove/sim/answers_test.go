package sim

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/prove/history"
)

// answers takes what is told of commands to those who wait: what lies in the log of outcomes, and what
// processes say to clients that are connected to them.
type answers struct {
	w      *world
	schema avro.Schema

	mu      sync.Mutex
	waiting map[commandKey][]chan answer
	stop    func()
	next    map[string]map[int32]int64 // offsets that the tail has reached, by topic
	last    [partitions]int64          // offset of the last command record of each partition, -1 for none
}

type commandKey struct{ tally, id string }

// answer is what is told of a command.
type answer struct {
	partition int32
	offset    int64 // of the command record that it answers, -1 if that was not said
	status    string
	code      string
	version   int64
	decision  bool
}

// outcome is what a plain client wants of an outcome.
type outcome struct {
	CommandID string `avro:"command_id"`
	Status    string `avro:"status"`
	Decision  bool   `avro:"decision"`
	Code      string `avro:"code"`
	Version   int64  `avro:"version"`
}

func newAnswers(w *world) *answers {
	schema, err := avro.ParseWithCache(w.bindings["Outcome"].Text(), "", &avro.SchemaCache{})
	if err != nil {
		w.t.Fatal(err)
	}
	a := &answers{w: w, schema: schema, waiting: map[commandKey][]chan answer{}, next: map[string]map[int32]int64{commandsTopic: {}, outcomesTopic: {}}}
	for p := range a.last {
		a.last[p] = -1
	}
	a.open()
	return a
}

// open starts reading the log where it was left.
func (a *answers) open() {
	starts := map[string]map[int32]kgo.Offset{}
	for topic, next := range a.next {
		starts[topic] = map[int32]kgo.Offset{}
		for p := range int32(partitions) {
			starts[topic][p] = kgo.NewOffset().At(next[p])
		}
	}
	cl := a.w.plain(kgo.ConsumePartitions(starts), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(a.read)
		}
	}()
	a.stop = func() {
		cancel()
		<-done
		cl.Close()
	}
}

func (a *answers) close() { a.stop() }

func (a *answers) read(r *kgo.Record) {
	a.mu.Lock()
	a.next[r.Topic][r.Partition] = r.Offset + 1
	if r.Topic == commandsTopic && !r.Attrs.IsControl() {
		a.last[r.Partition] = r.Offset
	}
	a.mu.Unlock()
	if r.Topic != outcomesTopic || r.Attrs.IsControl() {
		return
	}
	var o outcome
	if err := avro.Unmarshal(a.schema, r.Value[5:], &o); err != nil {
		a.w.t.Errorf("outcome at %d@%d: %v", r.Partition, r.Offset, err)
		return
	}
	at, err := strconv.ParseInt(header(r, "ce_commandoffset"), 10, 64)
	if err != nil {
		a.w.t.Errorf("outcome at %d@%d: %v", r.Partition, r.Offset, err)
		return
	}
	a.tell(commandKey{string(r.Key), o.CommandID}, answer{r.Partition, at, o.Status, o.Code, o.Version, o.Decision})
}

// push tells what a process said after its commit.
func (a *answers) push(o processing.Outcome) {
	a.tell(commandKey{o.AggregateID, o.CommandID}, answer{o.Partition, -1, string(o.Status), o.Code, o.Version, o.Decision})
}

func (a *answers) tell(key commandKey, what answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, to := range a.waiting[key] {
		select {
		case to <- what:
		default: // it has not looked for long
		}
	}
}

// wait has the answers to a command sent to the channel until done is called.
func (a *answers) wait(key commandKey) (arrived chan answer, done func()) {
	to := make(chan answer, 16)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[key] = append(a.waiting[key], to)
	return to, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		left := a.waiting[key][:0:0]
		for _, other := range a.waiting[key] {
			if other != to {
				left = append(left, other)
			}
		}
		if a.waiting[key] = left; len(left) == 0 {
			delete(a.waiting, key)
		}
	}
}

// reached returns the last command record of each partition, and whether everything up to ends is read.
func (a *answers) reached(ends kadm.ListedOffsets) ([partitions]int64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := true
	ends.Each(func(end kadm.ListedOffset) {
		if a.next[end.Topic][end.Partition] < end.Offset {
			whole = false
		}
	})
	return a.last, whole
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// resultOf is how a history calls what an outcome says.
var resultOf = map[string]string{"ACCEPTED": history.Accepted, "REFUSED": history.Refused, "FAILED": history.Failed}
