package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/schemas"
)

const (
	// lookupPatience is how long all that was polled together waits for the registry. Only the partitions of
	// what it has not told by then go on waiting.
	lookupPatience = 500 * time.Millisecond
	// lateAnswer is how long it is kept that there is no such schema. Whoever waits for it needs it at once;
	// for others it may be there by then.
	lateAnswer = 5 * time.Second
)

// lookups ask the registry for schemas beside those who need them, again and again until it answers. One
// goroutine uses them; without any, the codec asks, and all wait.
type lookups struct {
	codec *schemas.Codec
	// failed is told of each time that the registry did not answer. It may be called at any time.
	failed  func()
	asked   map[int]*lookup // by schema id
	until   time.Time       // when nobody waits any more for the registry
	running sync.WaitGroup
}

// lookup is the question for one schema.
type lookup struct {
	id   int
	done chan struct{} // closed once it is answered, or its asker has ended
	// err is nil or that there is no such schema, at the time of the answer: both are set before done.
	err error
	at  time.Time
	// late says that something waits for the answer, which is to find it then. Else it is told once: the next
	// one to ask may come after the schema was registered.
	late bool
	// trouble is why there is no answer, nil if the registry only takes its time.
	trouble atomic.Pointer[error]
}

// untoldError says that what a lookup asks for is not known yet.
type untoldError struct{ *lookup }

func (e *untoldError) Error() string {
	if err := e.why(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("schema id %d was asked for", e.id)
}

func newLookups(codec *schemas.Codec, failed func()) *lookups {
	return &lookups{codec: codec, failed: failed, asked: map[int]*lookup{}}
}

// close waits for what is asked, which ends with the context that it was asked with.
func (l *lookups) close() {
	if l != nil {
		l.running.Wait()
	}
}

// begin is called before what came together is decoded. While the registry does not answer, nothing of it
// waits.
func (l *lookups) begin() {
	if l == nil {
		return
	}
	l.until = time.Now().Add(lookupPatience)
	for id, q := range l.asked {
		switch {
		case !q.answered():
			l.until = time.Time{}
		case q.err == nil || !q.late || time.Since(q.at) > lateAnswer:
			delete(l.asked, id)
		}
	}
}

// find returns nil if the schema of a record is known or the record has none, an error that matches
// schemas.ErrUndecodable if there is no such schema, and else an *untoldError.
func (l *lookups) find(ctx context.Context, value []byte) error {
	if l == nil {
		return nil
	}
	id, framed := schemas.FrameID(value)
	if !framed || l.codec.Knows(id) {
		return nil
	}
	q := l.asked[id]
	if q == nil {
		q = l.ask(ctx, id)
	}
	patience := time.NewTimer(time.Until(l.until))
	defer patience.Stop()
	select {
	case <-q.done:
	case <-patience.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !q.answered() {
		q.late = true
		return &untoldError{q}
	}
	return q.err
}

func (l *lookups) ask(ctx context.Context, id int) *lookup {
	q := &lookup{id: id, done: make(chan struct{})}
	l.asked[id] = q
	l.running.Go(func() {
		defer close(q.done)
		for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, maxBackoff) {
			err := l.codec.Learn(ctx, id)
			if err == nil || errors.Is(err, schemas.ErrUndecodable) {
				q.err, q.at = err, time.Now()
				return
			}
			if ctx.Err() == nil {
				q.trouble.Store(&err)
				l.failed()
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
	return q
}

func (q *lookup) answered() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// why returns why there is no answer yet, nil if none is known.
func (q *lookup) why() error {
	if err := q.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// undecoded is a partition of commands that waits for a schema, and what of it does: a record of commands or,
// before the partition is recovered, of its events or outcomes.
type undecoded struct {
	*lookup
	at string
}

func newUndecoded(e *untoldError, r *kgo.Record) *undecoded {
	return &undecoded{lookup: e.lookup, at: fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset)}
}

// decodeOn resumes the partitions whose schema is told, and says which wait since the registry does not answer.
func (s *session) decodeOn(ctx context.Context) {
	var why error
	for tp, u := range s.undecoded {
		switch {
		case s.epochOf(tp) == 0:
			delete(s.undecoded, tp)
		case u.answered():
			delete(s.undecoded, tp)
			if s.owned[tp] != nil { // else it is recovered first
				s.tx.Client().ResumeFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
			}
		case u.why() != nil:
			why = fmt.Errorf("%d partitions of commands wait, %s for one: %w: %w", len(s.undecoded), u.at, errUnready, u.why())
		}
	}
	if why == nil {
		s.w.undecoded.Store(nil)
		return
	}
	s.w.undecoded.Store(&why)
	s.w.often.WarnContext(ctx, "commands wait for the schema registry", "err", why)
}

// passUndecoded takes the partitions out of fresh that wait for a schema to be recovered.
func (s *session) passUndecoded(fresh map[topicPartition]uint64) {
	for tp := range s.undecoded {
		delete(fresh, tp)
	}
}

// setAside takes the partitions out of recovered that need a schema which is not known.
func (s *session) setAside(recovered map[topicPartition]*ownedPartition) {
	for tp, o := range recovered {
		if o.undecoded != nil {
			delete(recovered, tp)
			s.keeper.forget(tp, o)
			s.undecoded[tp] = o.undecoded
		}
	}
}

// putBack has a partition's commands polled again from an offset on, later: until it is resumed, nothing is
// fetched of it. None of them counts as consumed then, and a commit of other partitions leaves it alone.
func (s *session) putBack(tp topicPartition, offset int64) {
	cl := s.tx.Client()
	cl.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{tp.topic: {tp.partition: {Epoch: -1, Offset: offset}}})
}

// hold has a partition wait for the schema of the command that could not be decoded.
func (s *session) hold(p *polled) {
	s.putBack(p.tp, p.next)
	s.undecoded[p.tp] = p.undecoded
}

// isHeld reports that nothing is polled of a partition, since it waits.
func (s *session) isHeld(tp topicPartition) bool {
	return s.keeper.isHeld(tp) || s.undecoded[tp] != nil
}
