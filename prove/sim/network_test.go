package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// network is the way of one process to the brokers, or to Redis. Of brokers it knows the requests that go by,
// and has strikes that wait for one of them. It can be cut, healed, and stand still as a frozen process's does.
type network struct {
	under dialFunc
	// owner is the process whose it is, nil for a client's.
	owner *process
	// heard is told of answers before the process gets them.
	heard func(kmsg.Response)

	mu      sync.Mutex
	cut     bool
	thawed  chan struct{} // closed when the process goes on; nil while it runs
	frozeAt time.Time
	conns   map[net.Conn]bool
	strikes []*strike
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// strike is what happens to the next request of a kind.
type strike struct {
	key kmsg.Key
	// after says that it strikes when the broker has acted and answered.
	after bool
	// act returns an error if the connection is to be closed instead of the request or answer passed on.
	// With after, it may change the answer.
	act func(p *process, answer kmsg.Response) error
}

var errStruck = errors.New("the connection was closed by a fault")

func newNetwork(under dialFunc) *network {
	return &network{under: under, heard: func(kmsg.Response) {}, conns: map[net.Conn]bool{}}
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := n.gate(); err != nil {
		return nil, err
	}
	raw, err := n.under(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, n: n, asked: map[uint32]asked{}}
	if !n.keep(c) {
		_ = raw.Close()
		return nil, errStruck
	}
	return c, nil
}

// keep has a connection closed when the network is cut, and returns false if it is.
func (n *network) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		return false
	}
	n.conns[c] = true
	return true
}

// drop forgets a connection that is closed.
func (n *network) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// gate waits while the process is frozen; its error says that the network is cut.
func (n *network) gate() error { return n.gateUntil(context.Background()) }

func (n *network) gateUntil(ctx context.Context) error {
	for {
		n.mu.Lock()
		cut, thawed := n.cut, n.thawed
		n.mu.Unlock()
		switch {
		case cut:
			return errStruck
		case thawed == nil:
			return nil
		}
		select {
		case <-thawed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sever closes all connections and lets none be made until mend. It ends a freeze.
func (n *network) sever() {
	n.mu.Lock()
	n.cut = true
	conns := n.conns
	n.conns = map[net.Conn]bool{}
	n.mu.Unlock()
	n.thaw()
	for c := range conns {
		_ = c.Close()
	}
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = false
}

func (n *network) freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.thawed == nil {
		n.thawed, n.frozeAt = make(chan struct{}), time.Now()
	}
}

func (n *network) thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.thawed != nil {
		close(n.thawed)
		n.thawed = nil
	}
}

// now is the process's clock, which stands still as the process does.
func (n *network) now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.thawed != nil {
		return n.frozeAt
	}
	return time.Now()
}

// lag is what a request or an answer takes on its way.
func (n *network) lag() { pause(time.Duration(rand.ExpFloat64() * float64(time.Millisecond))) }

func (n *network) arm(s *strike) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.strikes = append(n.strikes, s)
}

func (n *network) disarm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.strikes = nil
}

func (n *network) take(key kmsg.Key, after bool) *strike {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range n.strikes {
		if s.key == key && s.after == after {
			n.strikes = append(n.strikes[:i:i], n.strikes[i+1:]...)
			return s
		}
	}
	return nil
}

// conn follows the framing of requests and answers.
type conn struct {
	net.Conn
	n *network

	mu    sync.Mutex
	asked map[uint32]asked // by correlation id

	rest []byte // of an answer that is being read
}

type asked struct{ key, version int16 }

// Write is called with one whole request, as the client library does.
func (c *conn) Write(b []byte) (int, error) {
	c.n.lag()
	if err := c.n.gate(); err != nil {
		return 0, err
	}
	if len(b) >= 12 && int(binary.BigEndian.Uint32(b)) == len(b)-4 {
		key := int16(binary.BigEndian.Uint16(b[4:]))
		c.mu.Lock()
		c.asked[binary.BigEndian.Uint32(b[8:])] = asked{key, int16(binary.BigEndian.Uint16(b[6:]))}
		c.mu.Unlock()
		if s := c.n.take(kmsg.Key(key), false); s != nil {
			err := s.act(c.n.owner, nil)
			if err == nil {
				err = c.n.gate()
			}
			if err != nil {
				_ = c.Close()
				return 0, err
			}
		}
	}
	return c.Conn.Write(b)
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		frame, err := c.answer()
		if err != nil {
			return 0, err
		}
		c.rest = frame
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// answer reads a whole answer, and returns what the process gets to see of it.
func (c *conn) answer() ([]byte, error) {
	head := make([]byte, 4, 256)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return nil, err
	}
	frame := append(head, make([]byte, binary.BigEndian.Uint32(head))...)
	if _, err := io.ReadFull(c.Conn, frame[4:]); err != nil {
		return nil, err
	}
	c.n.lag()
	if err := c.n.gate(); err != nil {
		return nil, err
	}
	corr := binary.BigEndian.Uint32(frame[4:])
	c.mu.Lock()
	a, ok := c.asked[corr]
	delete(c.asked, corr)
	c.mu.Unlock()
	if !ok || a.key == int16(kmsg.ApiVersions) {
		return frame, nil
	}
	if s := c.n.take(kmsg.Key(a.key), true); s != nil {
		answer, head := parse(a, frame)
		err := s.act(c.n.owner, answer)
		if err == nil {
			err = c.n.gate()
		}
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		frame = answer.AppendTo(frame[:head:head])
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	}
	switch kmsg.Key(a.key) {
	case kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID, kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn:
		answer, _ := parse(a, frame)
		c.n.heard(answer)
	}
	return frame, nil
}

// parse returns an answer and how long its frame's head is.
func parse(a asked, frame []byte) (kmsg.Response, int) {
	answer := kmsg.ResponseForKey(a.key)
	answer.SetVersion(a.version)
	r := kbin.Reader{Src: frame[8:]}
	if answer.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := answer.ReadFrom(r.Src); err != nil {
		panic("reading an answer of the broker: " + err.Error())
	}
	return answer, len(frame) - len(r.Src)
}

func (c *conn) Close() error {
	c.n.drop(c)
	return c.Conn.Close()
}
