package kafka

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

// clockEvery is how long the worker's clock is taken to be right after it was found to be.
const clockEvery = 5 * time.Second

// brokersService is what the brokers are called where clocks are compared.
const brokersService = "the Kafka brokers"

// brokerClock is what is known of how the worker's clock and the brokers' agree.
type brokerClock struct {
	// wall and steady are when they last did: by the worker's clock, and by one that nobody sets.
	wall, steady time.Time
	// off is why the worker's cannot be relied on, nil if it can as far as is known.
	off atomic.Pointer[error]
}

// heldError ends a session because nothing may be decided at present. The partitions are given to others.
type heldError struct{ error }

func (e heldError) Unwrap() error { return e.error }

// checkClock compares the worker's clock with the brokers', now and then and whenever it has jumped. It is
// called within a transaction to which records were appended and whose begin was after began. A heldError
// says that they are too far apart.
//
// Kafka has no request for the time. But its coordinator notes when a transaction began, by its own clock,
// and tells whoever may write under that transactional id.
func (s *session) checkClock(ctx context.Context, began time.Time) error {
	c := &s.w.clock
	now := s.cfg.Now().Round(0)
	if since := now.Sub(c.wall); c.off.Load() == nil && since >= 0 && since < clockEvery && time.Since(c.steady) < clockEvery {
		return nil
	}
	described, err := s.adm.DescribeTransactions(ctx, s.cfg.Slot)
	if err == nil {
		err = described[s.cfg.Slot].Err
	}
	if err == nil && described[s.cfg.Slot].StartTimestamp <= 0 {
		err = fmt.Errorf("the transaction is %q, without a begin", described[s.cfg.Slot].State)
	}
	if err != nil {
		return fmt.Errorf("asking the brokers when the transaction of %s began: %w", s.cfg.Slot, err)
	}
	theirs := time.UnixMilli(described[s.cfg.Slot].StartTimestamp)
	s.cfg.Metrics.clock.Set(began.Round(0).Sub(theirs).Seconds())
	if err := processing.CheckClock(brokersService, theirs, began, s.cfg.Now()); err != nil {
		c.off.Store(&err)
		return heldError{err}
	}
	c.wall, c.steady = now, time.Now()
	c.off.Store(nil)
	return nil
}

// held asks whether anything else is against deciding.
func (w *Worker) held() error {
	err := w.cfg.Hold()
	if err == nil {
		w.hold.Store(nil)
		return nil
	}
	w.hold.Store(&err)
	return heldError{err}
}
