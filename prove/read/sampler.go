package main

import (
	"context"
	"sync"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
)

// samplePause lies between two looks at all checkpoints.
const samplePause = 50 * time.Millisecond

// sampler looks at the checkpoints of all generations all the time, and writes down when some of one are
// lower than before. What is wiped with its catalog is not thrown back: it is gone.
type sampler struct {
	r    *run
	stop context.CancelFunc
	done sync.WaitGroup
	last map[string]history.Offsets // by model and generation
}

func startSampler(r *run) *sampler {
	ctx, stop := context.WithCancel(context.Background())
	s := &sampler{r: r, stop: stop, last: map[string]history.Offsets{}}
	s.done.Go(func() {
		for pause(ctx, samplePause) {
			for _, m := range models {
				s.look(ctx, m)
			}
		}
	})
	return s
}

// look makes one sample of a model; while Redis does not answer there is none.
func (s *sampler) look(ctx context.Context, m model) {
	c, err := s.r.store.catalog(ctx, m)
	if err != nil {
		return
	}
	for id, g := range c.generations {
		at, err := s.r.store.checkpoints(ctx, m, g)
		if err != nil {
			return
		}
		name := m.name + "." + id
		if fell, by := compare(s.last[name], at); fell > 0 {
			// A wipe between the two questions looks like a fall to nothing.
			if again, err := s.r.store.catalog(ctx, m); err != nil || again.generations[id].ID == "" {
				return
			}
			s.r.out.Rewind(history.Rewind{At: s.r.now(), Model: m.name, Generation: id, Fell: fell, By: by})
			s.r.say("rewind of %s: %d checkpoints fell by %d", name, fell, by)
		}
		s.last[name] = at
	}
}

// compare counts the checkpoints that are lower than before, and by how much.
func compare(before, at history.Offsets) (fell int, by int64) {
	for key, offset := range before {
		if at[key] < offset {
			fell++
			by += offset - at[key]
		}
	}
	return fell, by
}

func (s *sampler) close() {
	s.stop()
	s.done.Wait()
}
