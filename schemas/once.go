package schemas

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
)

// table is a map that is read without a lock and copied on each write: for few keys, each written once.
type table[K comparable, V any] struct {
	mu  sync.Mutex
	now atomic.Pointer[map[K]V]
}

func (t *table[K, V]) get(key K) (V, bool) {
	now := t.now.Load()
	if now == nil {
		var none V
		return none, false
	}
	v, ok := (*now)[key]
	return v, ok
}

func (t *table[K, V]) put(key K, value V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[K]V{}
	if now := t.now.Load(); now != nil {
		maps.Copy(next, *now)
	}
	next[key] = value
	t.now.Store(&next)
}

// errAskerLeft is what the waiters get when the one who asked for all of them gave up.
var errAskerLeft = errors.New("the asker left")

// once calls ask for one of those who come with the same key at the same time; the others wait for its
// answer. It runs under the asker's ctx: when that ends, one of the others asks again. ask must look
// first whether an earlier one has answered: a caller may arrive just after it.
func (c *Codec) once(ctx context.Context, key string, ask func(context.Context) error) error {
	for {
		flight := c.flights.DoChan(key, func() (any, error) {
			err := ask(ctx)
			if err != nil && ctx.Err() != nil {
				err = errAskerLeft
			}
			return nil, err
		})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-flight:
			if !errors.Is(r.Err, errAskerLeft) {
				return r.Err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}
