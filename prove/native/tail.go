package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// place is where a command record lies.
type place struct {
	partition int32
	offset    int64
}

// tail sees every committed outcome, and when: the observer that takeovers are timed by, and that tells
// clients by Kafka what became of their commands.
type tail struct {
	r    *run
	cl   *kgo.Client
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	seen map[place]outcome
	// waiting are called, once, with the outcome of a command.
	waiting map[place][]func(outcome)
}

func startTail(ctx context.Context, r *run) (*tail, error) {
	cl, err := r.stack.Kafka(
		kgo.ConsumeTopics(outcomesTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(20*time.Millisecond), kgo.FetchMaxWait(time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	)
	if err != nil {
		return nil, fmt.Errorf("making the observer: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &tail{r: r, cl: cl, stop: stop, done: make(chan struct{}), seen: map[place]outcome{}, waiting: map[place][]func(outcome){}}
	go t.follow(ctx)
	return t, nil
}

func (t *tail) follow(ctx context.Context) {
	defer close(t.done)
	for ctx.Err() == nil {
		fetches := t.cl.PollFetches(ctx)
		at := t.r.now()
		fetches.EachRecord(func(record *kgo.Record) {
			o, err := readOutcome(record)
			if err != nil {
				t.r.say("outcome %s/%d@%d: %v", record.Topic, record.Partition, record.Offset, err)
				return
			}
			o.seen = at
			t.take(o)
		})
	}
}

func (t *tail) take(o outcome) {
	p := place{o.partition, o.input}
	t.mu.Lock()
	if _, again := t.seen[p]; again { // a second one is the checker's affair
		t.mu.Unlock()
		return
	}
	t.seen[p] = o
	told := t.waiting[p]
	delete(t.waiting, p)
	t.mu.Unlock()
	for _, tell := range told {
		tell(o)
	}
}

// tell calls do with the outcome of the command at a place, now or later, once. It must not block.
func (t *tail) tell(p place, do func(outcome)) {
	t.mu.Lock()
	o, ok := t.seen[p]
	if !ok {
		t.waiting[p] = append(t.waiting[p], do)
	}
	t.mu.Unlock()
	if ok {
		do(o)
	}
}

// wait returns the outcome of the command at a place, and false if ctx ends before it is seen.
func (t *tail) wait(ctx context.Context, p place) (outcome, bool) {
	arrived := make(chan outcome, 1)
	t.tell(p, func(o outcome) { arrived <- o })
	select {
	case o := <-arrived:
		return o, true
	case <-ctx.Done():
		return outcome{}, false
	}
}

func (t *tail) close() {
	t.stop()
	<-t.done
	t.cl.Close()
}
