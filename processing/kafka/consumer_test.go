package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// shelf is a store with one checkpoint per source: events are taken only if they follow on it.
type shelf struct {
	mu     sync.Mutex
	cond   *sync.Cond
	next   map[readstore.Source]int64
	events []processing.Event
	double int // runs that were refused
}

func newShelf() *shelf {
	s := &shelf{next: map[readstore.Source]int64{}}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// until waits for cond, which is called with the lock held.
func (s *shelf) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cond.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !cond() {
		if ctx.Err() != nil {
			t.Fatalf("waited for %s, have %d events", what, len(s.events))
		}
		s.cond.Wait()
	}
}

// keeper is a handler that writes to a shelf.
type keeper struct {
	s        *shelf
	owned    map[readstore.Source]bool
	trouble  []error
	failures map[string]int // how often a method fails yet
	rewind   map[readstore.Source]int64
	applied  int
}

var errKeeper = errors.New("the store is down")

func (k *keeper) lock() func() {
	k.s.mu.Lock()
	return func() {
		k.s.cond.Broadcast()
		k.s.mu.Unlock()
	}
}

func (k *keeper) fails(method string) error {
	if k.failures[method] > 0 {
		k.failures[method]--
		return errKeeper
	}
	return nil
}

func (k *keeper) Assign(_ context.Context, sources []readstore.Source) (map[readstore.Source]int64, error) {
	defer k.lock()()
	if err := k.fails("assign"); err != nil {
		return nil, err
	}
	from := map[readstore.Source]int64{}
	for _, s := range sources {
		k.owned[s] = true
		from[s] = k.s.next[s]
	}
	return from, nil
}

func (k *keeper) Revoke(sources []readstore.Source) {
	defer k.lock()()
	for _, s := range sources {
		delete(k.owned, s)
	}
}

func (k *keeper) Refresh(context.Context) (map[readstore.Source]int64, error) {
	defer k.lock()()
	rewind := k.rewind
	k.rewind = nil
	return rewind, k.fails("refresh")
}

func (k *keeper) Apply(_ context.Context, in processing.Fetched) (map[readstore.Source]int64, error) {
	defer k.lock()()
	if err := k.fails("apply"); err != nil {
		return nil, err
	}
	k.applied++
	rewind := map[readstore.Source]int64{}
	for s, from := range in.From {
		if from != k.s.next[s] {
			k.s.double++
			rewind[s] = k.s.next[s]
			continue
		}
		for _, e := range in.Events {
			if e.Partition == s.Partition {
				k.s.events = append(k.s.events, e)
			}
		}
		k.s.next[s] = in.Upto[s]
	}
	return rewind, nil
}

func (f *fixture) logConfig() LogConfig {
	return LogConfig{Client: f.client, Aggregates: []string{"order"}, Codec: f.newCodec()}
}

// consume runs a consumer over the shelf until stop is called.
func (f *fixture) consume(s *shelf, change ...func(*keeper)) (k *keeper, stop func()) {
	f.t.Helper()
	k = &keeper{s: s, owned: map[readstore.Source]bool{}, failures: map[string]int{}}
	for _, c := range change {
		c(k)
	}
	consumer, err := NewConsumer(ConsumerConfig{LogConfig: f.logConfig(), Group: "test.processor", Handler: k, Trouble: func(err error) {
		defer k.lock()()
		k.trouble = append(k.trouble, err)
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("consumer ended with %v", err)
		}
	})
	f.t.Cleanup(stop)
	return k, stop
}

// decided sends n orders through a worker and returns the number of their events and the marks.
func (f *fixture) decided(prefix string, n int) (events int, ends map[readstore.Source]int64) {
	f.t.Helper()
	w := f.worker("slot-0").waitReady()
	sent := f.flow(prefix, n)
	o := f.observe("order.outcomes")
	f.send(sent...)
	o.until("decisions", func() bool {
		mine := 0
		for _, r := range o.records["order.outcomes"] {
			if strings.HasPrefix(string(r.Key), prefix) {
				mine++
			}
		}
		return mine == len(sent)
	})
	w.stop()
	marks, err := readMarks(f.t.Context(), f.adm, "order.events")
	if err != nil {
		f.t.Fatal(err)
	}
	ends = map[readstore.Source]int64{}
	for tp, m := range marks {
		ends[readstore.Source{Aggregate: "order", Partition: tp.partition}] = m.high
	}
	return len(sent), ends
}

// wholeAndInOrder checks that events are those of n orders: of each, versions 1 to 3 in order.
func wholeAndInOrder(t *testing.T, events []processing.Event, orders int) {
	t.Helper()
	versions := map[string]int64{}
	for _, e := range events {
		if versions[e.AggregateID]++; e.Version != versions[e.AggregateID] {
			t.Errorf("%s: version %d, want %d", e.AggregateID, e.Version, versions[e.AggregateID])
		}
	}
	if len(versions) != orders || len(events) != 3*orders {
		t.Errorf("%d events of %d orders, want %d of %d", len(events), len(versions), 3*orders, orders)
	}
}

func TestConsumerPositionsAndCommits(t *testing.T) {
	f := newFixture(t, 1)
	n, ends := f.decided("o-", 12)
	s := newShelf()
	k, stop := f.consume(s)
	// Markers of transactions are passed too.
	s.until(t, "the ends", func() bool { return len(s.events) == n && maps.Equal(s.next, nonZero(ends)) })
	source := readstore.Source{Aggregate: "order", Partition: PartitionOf("o-0", testPartitions)}
	func() {
		defer k.lock()()
		// The store was set back, as by a restore from a backup: it is read again from there.
		s.next[source] = 0
		k.rewind = map[readstore.Source]int64{source: 0}
		kept := s.events[:0:0]
		for _, e := range s.events {
			if e.Partition != source.Partition {
				kept = append(kept, e)
			}
		}
		s.events = kept
	}()
	s.until(t, "the ends after a rewind", func() bool { return len(s.events) == n && s.next[source] == ends[source] })
	stop()
	wholeAndInOrder(t, s.events, 12)
	fetched, err := f.adm.FetchOffsets(t.Context(), "test.processor")
	if err != nil {
		t.Fatal(err)
	}
	for source, end := range ends {
		if o, ok := fetched.Lookup("order.events", source.Partition); !ok || o.At != end {
			t.Errorf("group's offset of %s: %d, %t; want %d", source, o.At, ok, end)
		}
	}
	if len(k.trouble) > 0 {
		t.Errorf("trouble: %v", k.trouble)
	}
}

func nonZero(m map[readstore.Source]int64) map[readstore.Source]int64 {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ readstore.Source, n int64) bool { return n == 0 })
	return m
}

func TestConsumersShareAndHandOver(t *testing.T) {
	f := newFixture(t, 1)
	n, _ := f.decided("a-", 12)
	s := newShelf()
	first, stopFirst := f.consume(s)
	s.until(t, "all of the first orders", func() bool { return len(s.events) == n })
	second, stopSecond := f.consume(s)
	s.until(t, "both to own two partitions", func() bool { return len(first.owned) == 2 && len(second.owned) == 2 })
	more, _ := f.decided("b-", 12)
	s.until(t, "all of the second orders", func() bool { return len(s.events) == n+more })
	stopFirst()
	s.until(t, "the second to own all", func() bool { return len(second.owned) == testPartitions })
	last, _ := f.decided("c-", 12)
	s.until(t, "all orders", func() bool { return len(s.events) == n+more+last })
	stopSecond()
	wholeAndInOrder(t, s.events, 36)
	if second.applied == 0 {
		t.Error("the second consumer applied nothing")
	}
}

// Trouble of any kind is told of, and of its end; nothing is lost by it.
func TestConsumerTellsOfTrouble(t *testing.T) {
	for _, method := range []string{"assign", "refresh", "apply"} {
		t.Run(method, func(t *testing.T) {
			f := newFixture(t, 1)
			n, _ := f.decided("o-", 4)
			s := newShelf()
			k, stop := f.consume(s, func(k *keeper) { k.failures[method] = 2 })
			s.until(t, "all events and the end of trouble", func() bool {
				return len(s.events) == n && len(k.trouble) > 0 && k.trouble[len(k.trouble)-1] == nil
			})
			stop()
			wholeAndInOrder(t, s.events, 4)
			failed := 0
			for i, err := range k.trouble {
				if errors.Is(err, errKeeper) {
					failed++
				} else if err != nil || i < len(k.trouble)-1 && failed == 2 && method != "assign" {
					t.Errorf("trouble %d: %v", i, err)
				}
			}
			if failed != 2 || k.failures[method] != 0 {
				t.Errorf("told %d times, want 2: %v", failed, k.trouble)
			}
		})
	}
}

func TestConsumerHandsOverAnUndecodableEvent(t *testing.T) {
	f := newFixture(t, 1)
	f.decided("o-", 4)
	broken := &kgo.Record{Topic: "order.events", Partition: PartitionOf("o-0", testPartitions), Key: []byte("o-0"), Value: []byte("no event")}
	if err := f.manual.ProduceSync(t.Context(), broken).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f.decided("p-", 4) // o-0 is unreadable from now on, others are not
	s := newShelf()
	_, stop := f.consume(s)
	s.until(t, "all events", func() bool { return len(s.events) == 2*3*4+1 })
	stop()
	found := 0
	for _, e := range s.events {
		if e.Undecodable == nil {
			continue
		}
		found++
		if e.Offset != broken.Offset || e.Partition != broken.Partition || e.AggregateID != "o-0" || e.Aggregate != "order" || e.Data != nil || e.Version != 0 || e.CommandOffset != -1 || e.Last {
			t.Errorf("got %+v", e)
		}
		if !strings.Contains(e.Undecodable.Error(), fmt.Sprintf("order.events/%d@%d", broken.Partition, broken.Offset)) {
			t.Errorf("it says %v", e.Undecodable)
		}
	}
	if found != 1 {
		t.Errorf("%d undecodable events, want 1", found)
	}
}

func TestNewConsumerRefuses(t *testing.T) {
	whole := ConsumerConfig{LogConfig: LogConfig{Client: ClientConfig{Brokers: []string{"localhost:1"}}, Aggregates: []string{"order"}, Codec: newFixtureCodec(t)}, Group: "g", Handler: &keeper{}}
	if _, err := NewConsumer(whole); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*ConsumerConfig){
		func(c *ConsumerConfig) { c.Client.Brokers = nil },
		func(c *ConsumerConfig) { c.Aggregates = nil },
		func(c *ConsumerConfig) { c.Codec = nil },
		func(c *ConsumerConfig) { c.Group = "" },
		func(c *ConsumerConfig) { c.Handler = nil },
	} {
		broken := whole
		change(&broken)
		if _, err := NewConsumer(broken); err == nil {
			t.Errorf("change %d: no error", i)
		}
	}
}

// A registry that takes longer than a poll is waited for.
func TestConsumerWaitsForASlowRegistry(t *testing.T) {
	f := newFixture(t, 1)
	n, _ := f.decided("o-", 4)
	target, err := url.Parse(sharedRegistry)
	if err != nil {
		t.Fatal(err)
	}
	proxy, transport, asked := httputil.NewSingleHostReverseProxy(target), &http.Transport{}, atomic.Int32{}
	proxy.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-time.After(3 * pollTimeout)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	f.registry = openRegistry(t, slow.URL)
	s := newShelf()
	k, stop := f.consume(s)
	s.until(t, "all events", func() bool { return len(s.events) == n })
	stop()
	if len(k.trouble) > 0 || asked.Load() == 0 {
		t.Errorf("trouble: %v; the registry was asked %d times", k.trouble, asked.Load())
	}
}
