package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/prove/history"
)

const (
	// sharedTallies is how many tallies all clients work on at one time. Others take their place every
	// tallyTurn, so that no tally's history grows too long to be checked.
	sharedTallies = 10
	tallyTurn     = 15 * time.Second
	// knownPatience is how long a client waits that wants to know, longer than ingest's own 10 s.
	knownPatience = 12 * time.Second
)

// client sends one command after the other, and some of them again.
type client struct {
	r      *run
	name   string
	chance *rand.Rand
	// own is how it sends first; ways are all there are, for the second time.
	own  way
	ways []way
	// versions are those of tallies as it last saw them.
	versions map[string]int64
}

// startClients starts as many as are asked for: by Kafka and by HTTP in turn.
func (r *run) startClients() error {
	ctx, stop := context.WithCancel(context.Background())
	r.stopClients = stop
	var ways []way
	for n := range 2 {
		k, err := newKafka(ctx, r, n == 1)
		if err != nil {
			return err
		}
		r.kafkaClients = append(r.kafkaClients, k.cl)
		ways = append(ways, k)
	}
	for _, s := range r.slots {
		transport := &http.Transport{MaxIdleConnsPerHost: r.cfg.clients}
		ways = append(ways, &byHTTP{url: s.url(), client: &http.Client{Transport: transport}})
	}
	r.repeats.ways = ways
	for n := range r.cfg.clients {
		own := ways[n/2%2]
		if n%2 == 1 {
			own = ways[2+n/2%len(r.slots)]
		}
		c := &client{
			r: r, name: fmt.Sprintf("client-%d", n+1), chance: r.chance(fmt.Sprintf("client-%d", n+1)),
			own: own, ways: ways, versions: map[string]int64{},
		}
		r.clients.Add(1)
		go func() {
			defer r.clients.Done()
			c.run(ctx)
		}()
	}
	return nil
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if again, ok := c.r.repeats.due(c.r.now()); ok {
			c.send(ctx, c.ways[c.chance.IntN(len(c.ways))], again, knownPatience)
		} else {
			c.once(ctx)
		}
		pause(ctx, time.Duration(c.chance.IntN(60))*time.Millisecond)
	}
}

// once sends a new command, again if it does not hear what became of it, and has some repeated later.
func (c *client) once(ctx context.Context) {
	cmd := c.command()
	patience := knownPatience
	if c.chance.IntN(100) < 12 { // its answer is likely to be lost
		patience = time.Duration(1+c.chance.IntN(40)) * time.Millisecond
	}
	a := c.send(ctx, c.own, cmd, patience)
	for tries := 0; a.result == history.Unknown && tries < 4 && c.chance.IntN(100) < 70; tries++ {
		if !pause(ctx, time.Duration(c.chance.IntN(1500))*time.Millisecond) {
			return
		}
		a = c.send(ctx, c.ways[c.chance.IntN(len(c.ways))], cmd, knownPatience)
	}
	if c.chance.IntN(100) < 8 {
		c.r.repeats.add(cmd, c.r.now()+int64(10*time.Second)+c.chance.Int64N(int64(110*time.Second)))
	}
}

// send sends once and writes the op down. What is under way when the clients are to stop is ended too.
func (c *client) send(ctx context.Context, w way, cmd command, patience time.Duration) answer {
	if ctx.Err() != nil {
		return unknown()
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	call := c.r.now()
	a := w.send(wait, cmd)
	c.r.op(c.name, call, c.r.now(), cmd, a)
	if a.result != history.Unknown && a.version >= 0 {
		c.versions[cmd.tally] = a.version
	}
	return a
}

// command thinks of a new one.
func (c *client) command() command {
	turn := c.r.now() / int64(tallyTurn)
	cmd := command{
		id: uuid.Must(uuid.NewV7()).String(), tally: fmt.Sprintf("tally-%d-%d", turn, c.chance.IntN(sharedTallies)),
		kind: "Add", amount: 1 + c.chance.Int64N(9), parts: 1 + c.chance.Int64N(5),
	}
	if c.chance.IntN(100) < 10 { // an id that tells no time
		cmd.id = uuid.NewString()
	}
	switch n := c.chance.IntN(100); {
	case n < 25:
		cmd.kind, cmd.amount, cmd.parts = "Take", 1+c.chance.Int64N(40), 0
	case n < 28:
		cmd.amount = 0 // refused
	}
	if version, known := c.versions[cmd.tally]; c.chance.IntN(100) < 35 {
		if !known && c.chance.IntN(2) == 0 {
			version = 1
		}
		cmd.expected = &version
	}
	return cmd
}

// repeats are commands to be sent again, by whichever client comes first.
type repeats struct {
	ways []way

	mu   sync.Mutex
	list []repeated
}

type repeated struct {
	command
	at int64
}

func (q *repeats) add(c command, at int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, repeated{c, at})
}

// due takes one whose time has come.
func (q *repeats) due(now int64) (command, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, one := range q.list {
		if one.at <= now {
			q.list = append(q.list[:i], q.list[i+1:]...)
			return one.command, true
		}
	}
	return command{}, false
}

// sendAgain sends commands of long ago once more, when all is quiet: each must get the answer of then.
func (r *run) sendAgain(ctx context.Context) error {
	c := &client{r: r, name: "again", chance: r.chance("again"), ways: r.repeats.ways, versions: map[string]int64{}}
	r.say("sending %d commands of before again", min(len(r.repeats.list), 200))
	for range 200 {
		again, ok := r.repeats.due(1 << 62)
		if !ok {
			return nil
		}
		if a := c.send(ctx, c.ways[c.chance.IntN(len(c.ways))], again, knownPatience); a.result == history.Unknown {
			return fmt.Errorf("command %s of tally %s, sent again when nothing was at fault, was not answered in %s", again.id, again.tally, knownPatience)
		}
		if !pause(ctx, 0) {
			return ctx.Err()
		}
	}
	return nil
}
