package processing

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/ledgerline/ledgerline/readstore"
)

// farBehind is how many offsets a follower may lack that others have, for them all to read the log together:
// more would keep the others waiting. One that comes back lacks less by far.
const farBehind = 5 * nearEnd

// laggard is a follower that reads the log by itself until it has caught up.
type laggard struct {
	f    *Follower
	stop context.CancelFunc
	done chan error

	mu sync.Mutex
	at map[readstore.Source]int64
}

// part has those read the log by themselves that lack too much of what others have. needs are the offsets that
// the followers go on from.
func (p *Processor) part(ctx context.Context, needs map[string]map[readstore.Source]int64) {
	furthest := map[readstore.Source]int64{}
	for _, need := range needs {
		for s, o := range need {
			furthest[s] = max(furthest[s], o)
		}
	}
	for key, need := range needs {
		lacks := int64(0)
		for s, o := range need {
			lacks += furthest[s] - o
		}
		if lacks > farBehind {
			p.leave(ctx, key, need)
		}
	}
}

// leave has a follower read by itself.
func (p *Processor) leave(ctx context.Context, key string, from map[readstore.Source]int64) {
	f := p.followers[key]
	delete(p.followers, key)
	l := &laggard{f: f, done: make(chan error, 1), at: maps.Clone(from)}
	ctx, l.stop = context.WithCancel(ctx)
	p.laggards[key] = l
	p.cfg.Log.InfoContext(ctx, "generation is far behind others, and reads the log by itself", "projection", f.Model().Name, "generation", f.Generation().ID)
	p.catching.Go(func() { l.done <- l.catchUp(ctx, p.cfg.Events, from) })
}

// catchUp returns nil once the follower is near the end of what it reads.
func (l *laggard) catchUp(ctx context.Context, events Log, from map[readstore.Source]int64) error {
	marks := map[readstore.Source]Mark{}
	for s := range from {
		marks[s] = Mark{} // the first look says where the end is
	}
	r := &replay{events: events, f: l.f, marks: marks, position: from}
	r.saw = func(context.Context, Fetched) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		maps.Copy(l.at, r.position)
		return nil
	}
	return r.run(ctx)
}

// reached is how far it is in a source.
func (l *laggard) reached(s readstore.Source) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.at[s]
	return at, ok
}

// rejoin lets go of those that have come to an end: Refresh takes them up again, as new ones.
func (p *Processor) rejoin(ctx context.Context) {
	for key, l := range p.laggards {
		select {
		case err := <-l.done:
			l.stop()
			delete(p.laggards, key)
			switch {
			case errors.Is(err, readstore.ErrBroken):
				p.giveUp(ctx, key, l.f, err)
			case err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled):
				p.often.WarnContext(ctx, "generation does not catch up, trying again", "projection", l.f.Model().Name, "generation", l.f.Generation().ID, "err", err)
			}
		default:
		}
	}
}

// Close ends what reads by itself, and waits for that. It is called last.
func (p *Processor) Close() {
	for _, l := range p.laggards {
		l.stop()
	}
	p.catching.Wait()
}
