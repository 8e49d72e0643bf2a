package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/prove/history"
)

// redisServer stands for the Redis of a run. It may be away, lose everything or what was written last, and
// fail in the middle of a script.
type redisServer struct {
	mu      sync.Mutex
	current *miniredis.Miniredis
	away    bool
	clients map[net.Conn]bool
	// images are what it held before, oldest first.
	images []image
	// losses counts the times that it lost something.
	losses int
	// failing is how many writes of data it does before one fails, -1 for no limit; failed is told of that.
	failing   int
	failed    func()
	restoring bool
}

// image is what Redis held at one moment, by key.
type image map[string]history.Stored

func newRedisServer() *redisServer {
	s := &redisServer{clients: map[net.Conn]bool{}, failing: -1}
	s.current = s.serve()
	return s
}

func (s *redisServer) serve() *miniredis.Miniredis {
	m := miniredis.NewMiniRedis()
	c, err := m.Dial() // this starts it
	if err != nil {
		panic(err)
	}
	_ = c.Close()
	m.Server().SetPreHook(s.strikeScript)
	return m
}

// strikeScript fails a write of data, which only scripts do, if that is due.
func (s *redisServer) strikeScript(c *server.Peer, cmd string, args ...string) bool {
	if cmd != "HSET" && cmd != "HINCRBY" && cmd != "ZADD" || len(args) == 0 || strings.HasSuffix(args[0], ":checkpoints") || !strings.Contains(args[0], ".") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing < 0 || s.restoring {
		return false
	}
	if s.failing--; s.failing >= 0 {
		return false
	}
	c.WriteError("ERR struck by a fault")
	s.losses++ // the generation is
	s.failed()
	return true
}

// failAfter has a script fail after so many more writes of data, and calls failed when it does.
func (s *redisServer) failAfter(n int, failed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing, s.failed = n, failed
}

func (s *redisServer) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing, s.away = -1, false
}

func (s *redisServer) dial() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errStruck
	}
	upstream, err := s.current.Dial()
	if err != nil {
		return nil, err
	}
	client := buffered(upstream)
	s.clients[client] = true
	return client, nil
}

// buffered returns the client's end of a connection on which the server never waits for the client: it holds
// a lock while it answers.
func buffered(upstream net.Conn) net.Conn {
	client, near := net.Pipe()
	answers := make(chan []byte, 1<<13)
	go func() {
		_, _ = io.Copy(upstream, near)
		_ = upstream.Close()
	}()
	go func() {
		defer close(answers)
		for {
			b := make([]byte, 4096)
			n, err := upstream.Read(b)
			if err != nil {
				return
			}
			answers <- b[:n]
		}
	}()
	go func() {
		for b := range answers {
			_, _ = near.Write(b) // without a reader they are lost
		}
		_ = near.Close()
	}()
	return client
}

// disconnect closes all connections.
func (s *redisServer) disconnect() {
	s.mu.Lock()
	clients := s.clients
	s.clients = map[net.Conn]bool{}
	s.mu.Unlock()
	for c := range clients {
		_ = c.Close()
	}
}

func (s *redisServer) setAway(away bool) {
	s.mu.Lock()
	s.away = away
	s.mu.Unlock()
	if away {
		s.disconnect()
	}
}

func (s *redisServer) server() *miniredis.Miniredis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// replace has another server take the place, that holds what an image says.
func (s *redisServer) replace(held image) {
	m := s.serve()
	for key, stored := range held {
		switch stored.Type {
		case "string":
			_ = m.Set(key, stored.Text)
		case "hash":
			for field, value := range stored.Fields {
				m.HSet(key, field, value)
			}
		case "zset":
			for member, score := range stored.Scores {
				_, _ = m.ZAdd(key, score, member)
			}
		}
	}
	s.mu.Lock()
	old := s.current
	s.current = m
	s.losses++
	s.mu.Unlock()
	s.disconnect()
	old.Close()
}

// restoreScript has the server hold what is given as imageScript returns it, and nothing else.
const restoreScript = `
redis.call('FLUSHALL')
for _, entry in ipairs(cjson.decode(ARGV[1])) do
  if entry.Kind == 'string' then redis.call('SET', entry.Key, entry.Text) end
  for i = 1, #(entry.List or {}), 2 do
    if entry.Kind == 'hash' then redis.call('HSET', entry.Key, entry.List[i], entry.List[i + 1])
    else redis.call('ZADD', entry.Key, entry.List[i + 1], entry.List[i]) end
  end
end
return 'OK'`

// restore has the server hold what an image says, and drops no connection.
func (s *redisServer) restore(held image) error {
	list := []imageEntry{}
	for key, stored := range held {
		e := imageEntry{Key: key, Kind: stored.Type, Text: stored.Text}
		for field, value := range stored.Fields {
			e.List = append(e.List, field, value)
		}
		for member, score := range stored.Scores {
			e.List = append(e.List, member, strconv.FormatFloat(score, 'g', -1, 64))
		}
		list = append(list, e)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	s.setRestoring(true)
	defer s.setRestoring(false)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl := s.client()
	defer func() { _ = cl.Close() }()
	return cl.Eval(ctx, restoreScript, nil, string(text)).Err()
}

func (s *redisServer) setRestoring(restoring bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.restoring = restoring; !restoring {
		s.losses++
	}
}

// imageEntry is a key in the form that scripts know: fields and values, or members and scores, in turn.
type imageEntry struct {
	Key, Kind, Text string
	List            []string
}

// lost counts the times that something was lost.
func (s *redisServer) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losses
}

// imageScript returns all keys as one text of JSON.
const imageScript = `
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key)
  kind = kind.ok or kind
  local entry = {Kind = kind}
  if kind == 'string' then entry.Text = redis.call('GET', key)
  elseif kind == 'hash' then entry.List = redis.call('HGETALL', key)
  else entry.List = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  entry.Key = key
  all[#all + 1] = entry
end
return cjson.encode(all)`

// client returns a client to which nothing happens but what happens to the server.
func (s *redisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:       "127.0.0.1:6379", // nobody looks a name up
		Dialer:     func(context.Context, string, string) (net.Conn, error) { return s.dial() },
		MaxRetries: -1, PoolSize: poolSize, DisableIdentity: true, Protocol: 2,
	})
}

// poolSize is more connections than are ever needed: the timers of those who wait for one are shared by all
// bubbles.
const poolSize = 1000

// image returns what the server holds.
func (s *redisServer) image() (image, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl := s.client()
	defer func() { _ = cl.Close() }()
	text, err := cl.Eval(ctx, imageScript, nil).Text()
	if err != nil {
		return nil, fmt.Errorf("looking at Redis: %w", err)
	}
	var all []imageEntry
	if text != "{}" && text != "[]" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return nil, fmt.Errorf("looking at Redis: %w", err)
		}
	}
	held := image{}
	for _, e := range all {
		stored := history.Stored{Key: e.Key, Type: e.Kind, Text: e.Text}
		for i := 0; i < len(e.List); i += 2 {
			if e.Kind == "hash" {
				if stored.Fields == nil {
					stored.Fields = map[string]string{}
				}
				stored.Fields[e.List[i]] = e.List[i+1]
				continue
			}
			score, err := strconv.ParseFloat(e.List[i+1], 64)
			if err != nil {
				return nil, fmt.Errorf("looking at Redis: %w", err)
			}
			if stored.Scores == nil {
				stored.Scores = map[string]float64{}
			}
			stored.Scores[e.List[i]] = score
		}
		held[e.Key] = stored
	}
	return held, nil
}

// remember keeps an image for a rewind.
func (s *redisServer) remember() {
	now, err := s.image()
	if err != nil {
		return // it is away
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images = append(s.images, now); len(s.images) > 6 {
		s.images = s.images[1:]
	}
}

// past returns an image of before, nil if there is none.
func (s *redisServer) past(draw func(int) int) image {
	s.mu.Lock()
	n := len(s.images)
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	i := draw(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.images) {
		return nil
	}
	held := s.images[i]
	s.images = s.images[:i+1] // what came after never was
	return held
}

// generation is what a run reads of one.
type generation struct {
	ID          string `json:"id"`
	State       string `json:"state"`
	Builder     string `json:"builder"`
	Buckets     int    `json:"buckets"`
	CodeVersion int    `json:"code_version"`
}

// generations returns a model's in an image, and which is active.
func (held image) generations(model string) (found map[string]generation, active string) {
	found = map[string]generation{}
	for id, text := range held[catalogKey(model, "generations")].Fields {
		var g generation
		if json.Unmarshal([]byte(text), &g) == nil {
			found[id] = g
		}
	}
	return found, held[catalogKey(model, "active")].Text
}

// checkpoints returns the offsets of a generation's checkpoints in an image. A broken one is -1.
func (held image) checkpoints(model string, g generation) history.Offsets {
	at := history.Offsets{}
	for n := range g.Buckets {
		for source, text := range held[bucketKey(model, g.ID, n, "checkpoints")].Fields {
			at[fmt.Sprintf("%d %s", n, source)] = offsetOf(text)
		}
	}
	return at
}

func offsetOf(checkpoint string) int64 {
	words := strings.Fields(checkpoint)
	if len(words) != 6 || strings.HasPrefix(checkpoint, "broken:") {
		return -1
	}
	n, err := strconv.ParseInt(words[3], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func catalogKey(model, last string) string { return "prove:{" + model + "}:" + last }

func bucketKey(model, generation string, bucket int, part string) string {
	return fmt.Sprintf("prove:{%s.%s.%d}:%s", model, generation, bucket, part)
}

// redisConn is a process's connection.
type redisConn struct {
	net.Conn
	p *reading
}

// dialRedis makes one for a process.
func (p *reading) dialRedis(context.Context, string, string) (net.Conn, error) {
	if err := p.redis.gate(); err != nil {
		return nil, err
	}
	raw, err := p.w.redis.dial()
	if err != nil {
		return nil, err
	}
	c := &redisConn{Conn: raw, p: p}
	if !p.redis.keep(c) {
		_ = raw.Close()
		return nil, errStruck
	}
	return c, nil
}

func (c *redisConn) Write(b []byte) (int, error) {
	c.p.redis.lag()
	if err := c.p.redis.gate(); err != nil {
		return 0, err
	}
	if isWrite(b) {
		if strike := c.p.takeStrike(false); strike != nil && strike() {
			_ = c.Close()
			return 0, errStruck
		}
		n, err := c.Conn.Write(b)
		if strike := c.p.takeStrike(true); err == nil && strike != nil && strike() {
			_ = c.Close()
			return 0, errStruck
		}
		return n, err
	}
	return c.Conn.Write(b)
}

// isWrite says whether a request, or a pipeline of them, is of the script that writes.
func isWrite(b []byte) bool {
	head := string(b[:min(len(b), 40)])
	return strings.Contains(strings.ToLower(head), "\r\nevalsha\r\n") || strings.Contains(strings.ToLower(head), "\r\neval\r\n")
}

func (c *redisConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, err
	}
	c.p.redis.lag()
	if err := c.p.redis.gate(); err != nil {
		return 0, err
	}
	return n, nil
}

func (c *redisConn) Close() error {
	c.p.redis.drop(c)
	return c.Conn.Close()
}

// sorted returns an image's entries by key.
func (held image) sorted() []history.Stored {
	all := make([]history.Stored, 0, len(held))
	for _, key := range slices.Sorted(maps.Keys(held)) {
		all = append(all, held[key])
	}
	return all
}
