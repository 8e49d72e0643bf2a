package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
)

const (
	// pulseEvery is how often each partition gets a command: times are known as exactly as that. Where
	// nothing is timed it is every slowPulse-th time only, and the clients have the brokers to themselves.
	pulseEvery = 100 * time.Millisecond
	slowPulse  = 10
	// pulseTallies is how many tallies of a partition take turns, pulseTurn how long each has its own.
	pulseTallies = 8
	pulseTurn    = 2 * time.Second
)

// beat is one command of the pulse.
type beat struct {
	sent int64
	seen int64 // when its outcome was, 0 before
}

// pulse sends a command to every partition again and again, whatever becomes of those before: what a
// partition goes through shows in how long they wait.
type pulse struct {
	r       *run
	way     *byKafka
	keys    [][]string // by partition
	cancel  context.CancelFunc
	done    chan struct{}
	stopped sync.Once
	slow    atomic.Bool

	mu    sync.Mutex
	beats [][]*beat // by partition, in order of sending
}

func startPulse(r *run) (*pulse, error) {
	way, err := newKafka(context.Background(), r, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &pulse{r: r, way: way, keys: pulseKeys(r.cfg.partitions), cancel: cancel, done: make(chan struct{}), beats: make([][]*beat, r.cfg.partitions)}
	go p.run(ctx)
	return p, nil
}

// pulseKeys finds names of tallies for each partition.
func pulseKeys(partitions int) [][]string {
	keys := make([][]string, partitions)
	for n, missing := 0, partitions*pulseTallies; missing > 0; n++ {
		key := fmt.Sprintf("pulse-%d", n)
		at := kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: []byte(key)}, partitions)
		if len(keys[at]) < pulseTallies {
			keys[at] = append(keys[at], key)
			missing--
		}
	}
	return keys
}

func (p *pulse) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for ticks := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ticks++; p.slow.Load() && ticks%slowPulse != 0 {
			continue
		}
		turn := int(p.r.now() / int64(pulseTurn))
		for partition := range p.keys {
			p.beat(partition, p.keys[partition][turn%pulseTallies])
		}
	}
}

// beat sends one command and has its op written down once its outcome is seen.
func (p *pulse) beat(partition int, tally string) {
	c := command{id: uuid.Must(uuid.NewV7()).String(), tally: tally, kind: "Add", amount: 1, parts: 1}
	b := &beat{sent: p.r.now()}
	p.mu.Lock()
	p.beats[partition] = append(p.beats[partition], b)
	p.mu.Unlock()
	p.way.cl.Produce(context.Background(), p.way.record(c), func(record *kgo.Record, err error) {
		if err != nil {
			p.r.op("pulse", b.sent, p.r.now(), c, unknown())
			p.mu.Lock()
			b.seen = -1 // nobody waits for it
			p.mu.Unlock()
			return
		}
		p.r.tail.tell(place{record.Partition, record.Offset}, func(o outcome) {
			p.mu.Lock()
			b.seen = o.seen
			p.mu.Unlock()
			p.r.op("pulse", b.sent, o.seen, c, o.answer(record.Offset))
		})
	})
}

// firstAfter returns when the first outcome was seen of a command sent to the partition after a time,
// false if none was yet.
func (p *pulse) firstAfter(partition int32, after int64) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, ok := int64(0), false
	for i := len(p.beats[partition]) - 1; i >= 0 && p.beats[partition][i].sent > after; i-- {
		if seen := p.beats[partition][i].seen; seen > 0 && (!ok || seen < first) {
			first, ok = seen, true
		}
	}
	return first, ok
}

// longest returns how long a command waited at most that was sent to the partition between two times. One
// that waits still counts as seen now.
func (p *pulse) longest(partition int, from, to int64) time.Duration {
	now := p.r.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	most := int64(0)
	for i := len(p.beats[partition]) - 1; i >= 0 && p.beats[partition][i].sent >= from; i-- {
		b := p.beats[partition][i]
		switch {
		case b.sent > to || b.seen < 0:
		case b.seen == 0:
			most = max(most, now-b.sent)
		default:
			most = max(most, b.seen-b.sent)
		}
	}
	return time.Duration(most)
}

// slowest is longest over all partitions.
func (p *pulse) slowest(from, to int64) (most time.Duration) {
	for partition := range p.keys {
		most = max(most, p.longest(partition, from, to))
	}
	return most
}

// stop ends the sending; what was sent is waited for by nobody but settle.
func (p *pulse) stop() {
	p.stopped.Do(func() {
		p.cancel()
		<-p.done
	})
}

func (p *pulse) close() {
	p.stop()
	p.way.cl.Close()
}

// op writes down what a client did and got to know.
func (r *run) op(client string, call, back int64, c command, a answer) {
	r.out.Op(history.Op{
		Client: client, Call: call, Return: back, ID: c.id, Tally: c.tally, Command: c.kind, Amount: c.amount, Parts: c.parts, Expected: c.expected,
		Appended: a.appended, Partition: a.partition, Offset: a.offset, Result: a.result, Code: a.code, Version: a.version, Repeat: a.repeat,
	})
	r.figures.op(a)
}

// oldest returns when the oldest command was sent that waits still, now if none does.
func (p *pulse) oldest() int64 {
	now := p.r.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	first := now
	for _, beats := range p.beats {
		for _, b := range beats {
			if b.seen == 0 {
				first = min(first, b.sent)
				break
			}
		}
	}
	return first
}
