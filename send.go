package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
)

// Sent counts what became of the commands of a [SendAll].
type Sent struct {
	// Commands were sent and are decided, in the order of the sequence: all before the first that is
	// not. They are Accepted, Refused or Failed; Repeated are those of them that had been decided before.
	Commands int64 `json:"commands"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Failed   int64 `json:"failed"`
	Repeated int64 `json:"repeated"`
}

const (
	// sendWindow is how many commands of a SendAll wait for their outcome at once.
	sendWindow = 4000
	// sendRetry is how long one attempt waits for an outcome.
	sendRetry = 20 * time.Second
)

// SendAll sends commands in order and waits for every outcome. A command whose outcome stays unknown
// is sent again under its id, so it is decided once. decided is called for each outcome, in order. It
// returns what is decided when ctx ends, when a request of the sequence is an error, or after the last.
func SendAll(ctx context.Context, sender *kafka.Sender, requests iter.Seq2[processing.Request, error], decided func(Sent, processing.Request, processing.Outcome)) (Sent, error) {
	type flight struct {
		request processing.Request
		wait    func(context.Context) (processing.Outcome, error)
	}
	var sent Sent
	var window []flight
	land := func() error {
		f := window[0]
		window = window[1:]
		o, err := await(ctx, sender, f.request, f.wait)
		if err != nil {
			return err
		}
		sent.count(o)
		decided(sent, f.request, o)
		return nil
	}
	for request, err := range requests {
		if err == nil && len(window) >= sendWindow {
			err = land()
		}
		if err != nil {
			return sent, err
		}
		wait, err := sender.Start(ctx, request)
		for errors.Is(err, processing.ErrInProgress) && len(window) > 0 {
			// The same command again, while its first waits: that has to land before.
			if err = land(); err == nil {
				wait, err = sender.Start(ctx, request)
			}
		}
		if err != nil {
			return sent, fmt.Errorf("sending %s to %s %s: %w", request.Type.Name, request.Aggregate.Name, request.AggregateID, err)
		}
		window = append(window, flight{request, wait})
	}
	for len(window) > 0 {
		if err := land(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// await waits for an outcome, sending the command again as often as it takes.
func await(ctx context.Context, sender *kafka.Sender, q processing.Request, wait func(context.Context) (processing.Outcome, error)) (processing.Outcome, error) {
	for {
		wctx, cancel := context.WithTimeout(ctx, sendRetry)
		o, err := wait(wctx)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, processing.ErrUndecided) && !errors.Is(err, processing.ErrUnconfirmed) {
			return o, err
		}
		if wait, err = sender.Start(ctx, q); err != nil {
			return o, err
		}
	}
}

func (s *Sent) count(o processing.Outcome) {
	s.Commands++
	switch o.Status {
	case processing.Accepted:
		s.Accepted++
	case processing.Refused:
		s.Refused++
	default:
		s.Failed++
	}
	if !o.Decision && o.Status != processing.Failed {
		s.Repeated++
	}
}
