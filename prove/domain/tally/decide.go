package tally

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	switch c := command.(type) {
	case Add:
		switch {
		case c.Amount <= 0:
			return nil, ErrAmountNotPositive.Because("amount is %d", c.Amount)
		case c.Parts < 1 || c.Parts > MaxParts:
			return nil, ErrBadParts.Because("want 1 to %d, got %d", MaxParts, c.Parts)
		}
		events := make([]Event, c.Parts)
		for i := range events {
			events[i] = Added{TallyID: in.ID, Amount: c.Amount, Part: int64(i) + 1}
		}
		return events, nil
	case Take:
		switch {
		case c.Amount <= 0:
			return nil, ErrAmountNotPositive.Because("amount is %d", c.Amount)
		case c.Amount > state.Sum:
			return nil, ErrNotEnough.Because("there is %d, asked for %d", state.Sum, c.Amount)
		}
		return []Event{Taken{TallyID: in.ID, Amount: c.Amount}}, nil
	default:
		return nil, fmt.Errorf("deciding tally %s: unknown command %T", in.ID, command)
	}
}
