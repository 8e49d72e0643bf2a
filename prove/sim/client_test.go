package sim

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ledgerline/ledgerline/prove/history"
)

const (
	clientCount = 4
	tallyCount  = 6
)

// command is what a client sends, perhaps again and again.
type command struct {
	id, tally, name string
	amount, parts   int64
	expected        *int64
	timeless        bool // its id has no time in it
	at              time.Time
	// contested says that other commands were sent under the id: whoever is not told which of them an
	// answer is for has none.
	contested bool
}

// sentCommands are all that any client has sent: what can be sent again.
type sentCommands struct {
	mu  sync.Mutex
	all []*command
}

func (s *sentCommands) add(c *command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, c)
}

// pick returns one that can be told from a repeat still, or nil. A third of the time it is of the last few.
func (s *sentCommands) pick(rng *rand.Rand) *command {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return nil
	}
	i := rng.IntN(len(s.all))
	if rng.IntN(3) == 0 {
		i = len(s.all) - 1 - rng.IntN(min(len(s.all), 5))
	}
	if c := s.all[i]; !c.timeless || time.Since(c.at) < 20*time.Hour {
		return c
	}
	return nil
}

func (s *sentCommands) contest(c *command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.contested = true
}

func (s *sentCommands) isContested(c *command) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.contested
}

// client is a plain Kafka client with a mind of its own.
type client struct {
	w    *world
	name string
	rng  *rand.Rand
	net  *network
	cl   *kgo.Client
	// pushed says that it is told by processes as well as by the log.
	pushed   bool
	versions map[string]int64 // of tallies, as it was told last
}

// clients runs all clients until each has sent so many commands.
func (w *world) clients(each int) {
	var running sync.WaitGroup
	for i := range clientCount {
		c := w.newClient(i)
		running.Go(func() {
			defer c.close()
			for range each {
				pause(time.Duration(c.rng.ExpFloat64() * float64(900*time.Millisecond)))
				c.do(c.choose(), c.patience())
			}
		})
	}
	running.Wait()
}

// pump has commands come to all tallies, from as many clients, until it is stopped.
func (w *world) pump() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := w.newClient(clientCount)
	var sent sync.WaitGroup
	sent.Go(func() {
		for i := 0; pauseCtx(ctx, 150*time.Millisecond); i++ {
			q := &command{tally: "t-" + strconv.Itoa(i%tallyCount), name: "Add", amount: 1, parts: 1, at: time.Now()}
			q.id = c.id(7, q.at)
			w.ids.add(q)
			c := &client{w: w, name: "pump-" + strconv.Itoa(i), rng: rand.New(rand.NewPCG(uint64(i), 0)), net: c.net, cl: c.cl, pushed: true, versions: map[string]int64{}}
			sent.Go(func() { c.do(q, 25*time.Second) })
		}
	})
	return func() {
		cancel()
		w.goes.Go(func() {
			sent.Wait()
			c.close()
		})
	}
}

func (w *world) newClient(i int) *client {
	w.mu.Lock()
	seed := w.rng.Uint64()
	w.mu.Unlock()
	c := &client{
		w: w, name: "client-" + strconv.Itoa(i), rng: rand.New(rand.NewPCG(seed, uint64(i))), net: newNetwork(w.net.DialContext),
		pushed: i%2 == 0, versions: map[string]int64{},
	}
	opts := []kgo.Opt{kgo.Dialer(c.net.dial), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(10 * time.Second)}
	if i == clientCount-1 { // it sends again what it has no answer to, and may leave two records
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	c.cl = w.plain(opts...)
	return c
}

func (c *client) close() {
	c.net.sever()
	c.cl.Close()
}

func (c *client) patience() time.Duration {
	if c.rng.IntN(8) == 0 { // about what an answer takes
		return time.Duration(c.rng.IntN(15)) * time.Millisecond
	}
	return 2*time.Second + time.Duration(c.rng.IntN(int(9*time.Second)))
}

// choose makes a command up, or takes one that was sent before.
func (c *client) choose() *command {
	if n := c.rng.IntN(100); n < 30 {
		if again := c.w.ids.pick(c.rng); again != nil && n < 26 {
			return again
		} else if again != nil {
			other := *again
			other.amount += 1 + c.rng.Int64N(3)
			other.contested = true
			c.w.ids.contest(again)
			return &other
		}
	}
	q := &command{tally: "t-" + strconv.Itoa(c.rng.IntN(tallyCount)), name: "Add", amount: 1 + c.rng.Int64N(5), parts: 1 + c.rng.Int64N(5), at: time.Now()}
	switch n := c.rng.IntN(100); {
	case n < 3:
		q.parts = 6 * c.rng.Int64N(2)
	case n < 6:
		q.amount = -c.rng.Int64N(3)
	case n < 45:
		q.name, q.parts, q.amount = "Take", 0, 1+c.rng.Int64N(12)
	}
	if c.rng.IntN(3) == 0 {
		version := c.versions[q.tally]
		if c.rng.IntN(4) == 0 {
			version = max(0, version+c.rng.Int64N(5)-2)
		}
		q.expected = &version
	}
	switch n := c.rng.IntN(100); {
	case n < 15:
		q.timeless, q.id = true, c.id(4, q.at)
	case n < 17:
		q.id = c.id(7, q.at.Add(5*time.Minute))
	case n < 19:
		q.id = c.id(7, q.at.Add(-25*time.Hour))
	default:
		q.id = c.id(7, q.at)
	}
	c.w.ids.add(q)
	return q
}

// id makes a UUID. The library's own keeps one clock for the process, which many bubbles share.
func (c *client) id(version byte, at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], c.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], c.rng.Uint64())
	if version == 7 {
		var ms [8]byte
		binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
		copy(b[:6], ms[2:])
	}
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// do sends a command, waits for what becomes of it, and writes down both.
func (c *client) do(q *command, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.rng.IntN(20) == 0 {
		c.net.arm(&strike{key: kmsg.Produce, after: true, act: func(*process, kmsg.Response) error {
			c.w.fault("client-answer-lost", c.name)
			return errStruck
		}})
	}
	r := c.record(q)
	misplaced := c.rng.IntN(25) == 0
	if misplaced {
		c.w.fault("command-in-wrong-log", c.name)
		r.Partition = (r.Partition + 1 + c.rng.Int32N(partitions-1)) % partitions
	}
	op := history.Op{
		Client: c.name, Call: c.w.at(), ID: q.id, Tally: q.tally, Command: q.name, Amount: q.amount, Parts: q.parts, Expected: q.expected, Result: history.Unknown,
	}
	arrived, done := c.w.answers.wait(commandKey{q.tally, q.id})
	defer done()
	if err := c.cl.ProduceSync(ctx, r).FirstErr(); err == nil && r.Offset >= 0 {
		op.Appended, op.Partition, op.Offset = true, r.Partition, r.Offset
		for waiting := true; waiting; {
			select {
			case a := <-arrived:
				if c.concerns(a, q, r, misplaced) {
					op.Result, op.Code, op.Version, op.Repeat = resultOf[a.status], a.code, a.version, !a.decision
					c.versions[q.tally] = a.version
					waiting = false
				}
			case <-ctx.Done():
				waiting = false
			}
		}
	}
	op.Return = c.w.at()
	c.w.hist.Op(op)
}

// concerns reports whether an answer is certain to be for the record. What a process says names the
// command alone, and of a command that is moved nobody knows where it will lie.
func (c *client) concerns(a answer, q *command, r *kgo.Record, misplaced bool) bool {
	if a.offset >= 0 && !misplaced {
		return a.partition == r.Partition && a.offset == r.Offset
	}
	return (misplaced || c.pushed) && a.status != "FAILED" && !c.w.ids.isContested(q)
}

// record encodes a command, now and then as JSON, for the partition where it belongs.
func (c *client) record(q *command) *kgo.Record {
	schema := c.w.bindings[q.name]
	r := &kgo.Record{Topic: commandsTopic, Key: []byte(q.tally)}
	add := func(key, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	add("ce_id", q.id)
	add("ce_type", schema.FullName())
	if q.expected != nil {
		add("ce_expectedversion", strconv.FormatInt(*q.expected, 10))
	}
	body := map[string]any{"amount": q.amount}
	if q.name == "Add" {
		body["parts"] = q.parts
	}
	if c.rng.IntN(12) == 0 {
		add("content-type", "application/json")
		r.Value = fmt.Appendf(nil, `{"amount":%d}`, q.amount)
		if q.name == "Add" {
			r.Value = fmt.Appendf(nil, `{"amount":%d,"parts":%d}`, q.amount, q.parts)
		}
	} else {
		add("content-type", "application/avro")
		parsed, err := avro.ParseWithCache(schema.Text(), "", &avro.SchemaCache{})
		if err != nil {
			c.w.t.Fatal(err)
		}
		payload, err := avro.Marshal(parsed, body)
		if err != nil {
			c.w.t.Fatal(err)
		}
		id, err := c.w.registry.SchemaID(context.Background(), "", schema.Text())
		if err != nil {
			c.w.t.Fatal(err)
		}
		r.Value = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), payload...)
	}
	r.Partition = int32(kgo.StickyKeyPartitioner(nil).ForTopic(commandsTopic).Partition(r, partitions))
	return r
}
