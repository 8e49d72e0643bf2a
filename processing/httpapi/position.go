package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

const (
	// firstPause and longestPause are between two looks at a bucket that is behind.
	firstPause   = 5 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// seen is what one look at a generation showed.
type seen struct {
	// found says that there was something: a reader that finds nothing reads the pointer again.
	found bool
	// emptyOK says that nothing is an answer too, an empty page.
	emptyOK bool
	// at holds what buckets had when they were looked at. A bucket that was looked at twice is in it twice: it
	// may have lost something meanwhile.
	at []bucketAt
}

// bucketAt is a bucket's checkpoints when it was looked at.
type bucketAt struct {
	number      int
	checkpoints readstore.Checkpoints
}

// read calls look until what it shows has the positions that r names, on the generation wanted or, if
// that is "", the active one. look keeps what it found of its last call.
func (q *Queries) read(r *http.Request, m *processing.ReadModel, wanted string, look func(context.Context, readstore.Generation) (seen, error)) error {
	positions, err := q.positions(r, m)
	if err != nil {
		return err
	}
	ctx, began := r.Context(), time.Now()
	deadline := began.Add(q.config.Wait)
	waited := func(result string) {
		if len(positions) > 0 {
			q.observer.metrics.waits.WithLabelValues(m.Name, result).Observe(time.Since(began).Seconds())
		}
	}
	pause, fresh := firstPause, false
	for {
		g, err := q.catalogs.generation(ctx, m.Name, wanted, fresh)
		if err != nil {
			return err
		}
		s, err := look(ctx, g)
		broken := errors.Is(err, readstore.ErrBroken)
		if err != nil && !broken {
			return fmt.Errorf("reading generation %s of %s: %w", g.ID, m.Name, err)
		}
		missing := behind(m, positions, s.at)
		switch {
		case broken && fresh:
			return brokenModel()
		case !broken && missing != nil:
			left := time.Until(deadline)
			if left <= 0 {
				waited(resultInVain)
				return refuse(http.StatusServiceUnavailable, "read-model-behind", "the read model does not have %s yet", missing)
			}
			if err := sleep(ctx, min(pause, left)); err != nil {
				return fmt.Errorf("waiting for %s in %s: %w", missing, m.Name, err)
			}
			pause, fresh = min(pause*3/2, longestPause), false
		case !broken && (s.found || fresh && s.emptyOK):
			waited(resultHeld)
			return nil
		case fresh:
			return refuse(http.StatusNotFound, "not-found", "there is nothing of this id")
		default:
			fresh = true
		}
	}
}

func brokenModel() *problem {
	return refuse(http.StatusServiceUnavailable, "read-model-broken", "a write to this read model stopped half-way: it must be built anew")
}

// positions reads Ledgerline-Position: any number of positions, separated by commas.
func (q *Queries) positions(r *http.Request, m *processing.ReadModel) ([]processing.Position, error) {
	values := r.Header.Values("Ledgerline-Position")
	if len(values) == 0 {
		return nil, nil
	}
	var positions []processing.Position
	for _, text := range strings.Split(strings.Join(values, ","), ",") {
		p, err := processing.ParsePosition(strings.TrimSpace(text))
		if err != nil {
			return nil, badPosition("%v", err)
		}
		if !slices.Contains(m.Aggregates, p.Aggregate) {
			return nil, badPosition("%s is made of %s, so it never has %s", m.Name, strings.Join(m.Aggregates, ", "), p)
		}
		if n := q.config.Partitions(p.Aggregate); p.Partition >= n {
			return nil, badPosition("%s has partitions 0 to %d, so there is no %s", p.Aggregate, n-1, p)
		}
		positions = append(positions, p)
	}
	return positions, nil
}

func badPosition(format string, args ...any) *problem {
	p := refuse(http.StatusBadRequest, "invalid-position", format, args...)
	p.Field = "Ledgerline-Position"
	return p
}

// behind returns a position that a bucket should have and has not, or nil.
func behind(m *processing.ReadModel, positions []processing.Position, at []bucketAt) *processing.Position {
	for _, b := range at {
		for _, p := range positions {
			if m.KeyedAsEvents && int(p.Partition) != b.number {
				continue // no event of that partition ever comes into this bucket
			}
			// The zero checkpoint is "nothing yet", although its Command is 0.
			c := b.checkpoints[readstore.Source{Aggregate: p.Aggregate, Partition: p.Partition}]
			if c == (readstore.Checkpoint{}) || c.Command < p.Offset {
				return &p
			}
		}
	}
	return nil
}

// sleep waits for d, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
