package ledgerline

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

const (
	// lookEvery is how often a service that answers is looked at, lookTimeout how long it may take: so
	// one that does not is known within their sum. firstLook is the pause after a first look in vain; it
	// doubles up to lookEvery.
	lookEvery   = 2 * time.Second
	lookTimeout = 2 * time.Second
	firstLook   = 25 * time.Millisecond
)

// probe looks at a service from time to time and remembers what it found: to ask whether a process is
// ready costs nothing, however often it is done.
type probe struct {
	mu     sync.Mutex
	reason error
}

func newProbe(what string) *probe { return &probe{reason: errors.New(what + " is not looked at yet")} }

// run looks until ctx ends.
func (p *probe) run(ctx context.Context, look func(context.Context) error) {
	pause := firstLook
	for ctx.Err() == nil {
		lctx, cancel := context.WithTimeout(ctx, lookTimeout)
		err := look(lctx)
		cancel()
		if ctx.Err() == nil { // else it is the end that made it fail
			p.mu.Lock()
			p.reason = err
			p.mu.Unlock()
		}
		wait := lookEvery
		if err != nil {
			wait = pause
			pause = min(2*pause, lookEvery)
		} else {
			pause = firstLook
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// why returns why the service is of no use at present, nil if it is.
func (p *probe) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// reasons are why a process is not ready, one a line.
type reasons []error

// add takes a reason, unless it is nil or there already.
func (r *reasons) add(err error) {
	if err == nil {
		return
	}
	for _, known := range *r {
		if known.Error() == err.Error() {
			return
		}
	}
	*r = append(*r, err)
}

// err returns all of them as one error, nil if there is none.
func (r reasons) err() error {
	if len(r) == 0 {
		return nil
	}
	return r
}

// Error implements error: a line for each.
func (r reasons) Error() string {
	lines := make([]string, len(r))
	for i, err := range r {
		lines[i] = strings.Join(strings.Fields(err.Error()), " ")
	}
	return strings.Join(lines, "\n")
}

// Unwrap serves errors.Is.
func (r reasons) Unwrap() []error { return r }
