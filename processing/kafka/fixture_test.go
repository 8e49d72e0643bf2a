package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/embedded"
	"github.com/ledgerline/ledgerline/schemas"
)

func TestMain(m *testing.M) {
	// Closing a client leaves this goroutine behind now and then: it counts a fetch twice that was cancelled as it
	// ended. A client that is not closed leaves others, too.
	goleak.VerifyTestMain(withRegistry{m}, goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kgo.(*fetchManager).manageFetchConcurrency"))
}

// withRegistry runs the tests beside one registry that holds the schemas of orders: to fill one for
// each test would take longer than the test.
type withRegistry struct{ m *testing.M }

var sharedRegistry string // its URL

func (w withRegistry) Run() int {
	services, err := embedded.Start(embedded.Config{})
	if err == nil {
		sharedRegistry = services.RegistryURL
		err = registerOrders()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := w.m.Run()
	if err := services.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func registerOrders() error {
	registry, err := NewRegistry(RegistryConfig{URL: sharedRegistry})
	if err != nil {
		return err
	}
	defer registry.Close()
	bindings, err := processing.Bindings(schemas.FS, []*processing.Aggregate{order.Decider.Erase()})
	if err != nil {
		return err
	}
	for _, b := range bindings {
		for _, topic := range []string{"order.commands", "order.events", "order.outcomes"} {
			if err := registry.register(context.Background(), schemas.Subject(topic, b.Schema.FullName()), b.Schema.Text()); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	testPartitions = 4
	testGroup      = "test.ingest"
	patience       = 20 * time.Second
)

// fixture is a provisioned cluster of one broker or more, and clients that are none of ours.
type fixture struct {
	t        *testing.T
	cluster  *kfake.Cluster
	losing   *losing
	registry *Registry
	codec    *schemas.Codec
	orders   *processing.Aggregate
	client   ClientConfig
	cl       *kgo.Client // produces, with Kafka's own partitioner
	manual   *kgo.Client // produces where it is told
	adm      *kadm.Client
}

// newFixture lets its test run beside others: most of their time is spent waiting.
func newFixture(t *testing.T, brokers int, opts ...kfake.Opt) *fixture {
	t.Helper()
	t.Parallel()
	f := &fixture{t: t, losing: &losing{}, orders: order.Decider.Erase()}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(brokers),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.ListenFn(f.losing.listen),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	f.cluster = cluster
	f.provision(cluster.ListenAddrs())
	return f
}

// provision makes the topics on brokers and the clients.
func (f *fixture) provision(brokers []string) {
	t := f.t
	t.Helper()
	f.client = ClientConfig{Brokers: brokers}
	f.registry = openRegistry(t, sharedRegistry)
	d := Description{Topics: Topics{}.Of("order", testPartitions)}
	p, err := NewProvisioner(ProvisionerConfig{Client: f.client, Registry: f.registry})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	changes, err := p.Plan(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	f.codec = f.newCodec()
	f.cl = f.kgo(kgo.ProducerBatchMaxBytes(2 << 20))
	f.manual = f.kgo(kgo.ProducerBatchMaxBytes(2<<20), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	f.adm = kadm.NewClient(f.cl)
}

func (f *fixture) newCodec() *schemas.Codec {
	f.t.Helper()
	bindings, err := processing.Bindings(schemas.FS, []*processing.Aggregate{f.orders})
	if err != nil {
		f.t.Fatal(err)
	}
	codec, err := schemas.NewCodec(f.registry, bindings...)
	if err != nil {
		f.t.Fatal(err)
	}
	return codec
}

// kgo returns a plain client that lives as long as the test.
func (f *fixture) kgo(opts ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.client.Brokers...), kgo.MetadataMinAge(20 * time.Millisecond), kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(cl.Close)
	return cl
}

// losing loses answers: the broker has acted, and its client meets a closed connection.
type losing struct {
	armed atomic.Int32 // request key + 1, 0 for none
	lost  atomic.Int32
	deny  atomic.Bool
}

// next has the answer to the next request of that key lost.
func (l *losing) next(key kmsg.Key) { l.armed.Store(int32(key) + 1) }

// denyEnd has the broker end a transaction, and answer that it does not know what became of it.
func (l *losing) denyEnd() {
	l.deny.Store(true)
	l.next(kmsg.EndTxn)
}

func (l *losing) listen(network, address string) (net.Listener, error) {
	ln, err := net.Listen(network, address)
	return losingListener{ln, l}, err
}

type losingListener struct {
	net.Listener
	l *losing
}

func (ln losingListener) Accept() (net.Conn, error) {
	c, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &losingConn{Conn: c, l: ln.l}, nil
}

// losingConn follows the framing of requests: four bytes of length, then key, version, correlation id.
type losingConn struct {
	net.Conn
	l *losing

	mu     sync.Mutex
	head   []byte // of the request being read, at most 12 bytes
	left   int    // of its body, beyond the head
	doomed map[uint32]bool
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	for read := b[:n]; len(read) > 0; {
		if c.left > 0 {
			skip := min(c.left, len(read))
			c.left, read = c.left-skip, read[skip:]
			continue
		}
		take := min(12-len(c.head), len(read))
		c.head, read = append(c.head, read[:take]...), read[take:]
		if len(c.head) == 12 {
			c.left = int(binary.BigEndian.Uint32(c.head)) - 8
			key := int32(binary.BigEndian.Uint16(c.head[4:])) + 1
			if c.l.armed.CompareAndSwap(key, 0) {
				if c.doomed == nil {
					c.doomed = map[uint32]bool{}
				}
				c.doomed[binary.BigEndian.Uint32(c.head[8:])] = true
			}
			c.head = c.head[:0]
		}
	}
	return n, err
}

func (c *losingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	lose := len(b) >= 8 && c.doomed[binary.BigEndian.Uint32(b[4:])]
	c.mu.Unlock()
	if lose && c.l.deny.CompareAndSwap(true, false) {
		c.l.lost.Add(1)
		// Length, correlation id, no tags, throttle time; then the error code: UNKNOWN_SERVER_ERROR.
		binary.BigEndian.PutUint16(b[13:], 0xffff)
		return c.Conn.Write(b)
	}
	if lose {
		c.l.lost.Add(1)
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}
