package tally_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing/processingtest"
	"github.com/ledgerline/ledgerline/prove/domain/tally"
)

var scenario = processingtest.Scenario[tally.State, tally.Command, tally.Event]{Decider: tally.Decider, ID: "t-1"}

func TestDecide(t *testing.T) {
	added := func(amount, parts int64) (events []tally.Event) {
		for part := range parts {
			events = append(events, tally.Added{TallyID: "t-1", Amount: amount, Part: part + 1})
		}
		return events
	}
	scenario.Run(t, []processingtest.Row[tally.Command, tally.Event]{
		{Name: "one event", When: tally.Add{Amount: 3, Parts: 1}, Then: added(3, 1)},
		{Name: "five", Given: added(3, 1), When: tally.Add{Amount: 2, Parts: 5}, Then: added(2, 5)},
		{Name: "none", When: tally.Add{Amount: 2, Parts: 0}, Refused: tally.ErrBadParts},
		{Name: "six", When: tally.Add{Amount: 2, Parts: 6}, Refused: tally.ErrBadParts},
		{Name: "of nothing", When: tally.Add{Amount: 0, Parts: 1}, Refused: tally.ErrAmountNotPositive},
		{Name: "all of it", Given: added(3, 2), When: tally.Take{Amount: 6}, Then: []tally.Event{tally.Taken{TallyID: "t-1", Amount: 6}}},
		{Name: "one too many", Given: added(3, 2), When: tally.Take{Amount: 7}, Refused: tally.ErrNotEnough},
		{Name: "nothing", Given: added(3, 2), When: tally.Take{Amount: 0}, Refused: tally.ErrAmountNotPositive},
	})
}

func TestLaws(t *testing.T) {
	commands := rapid.Custom(func(t *rapid.T) tally.Command {
		amount := rapid.Int64Range(-1, 5).Draw(t, "amount")
		if rapid.Bool().Draw(t, "add") {
			return tally.Add{Amount: amount, Parts: rapid.Int64Range(0, tally.MaxParts+1).Draw(t, "parts")}
		}
		return tally.Take{Amount: amount}
	})
	processingtest.CheckDecider(t, tally.Decider, commands, func(history []processingtest.Step[tally.State, tally.Command, tally.Event]) error {
		var sum int64
		for _, s := range history {
			for _, e := range s.Events {
				switch e := e.(type) {
				case tally.Added:
					sum += e.Amount
				case tally.Taken:
					sum -= e.Amount
				}
			}
			if s.After.Sum != sum || sum < 0 {
				return fmt.Errorf("%+v: the events come to %d, the state has %d", s.Command, sum, s.After.Sum)
			}
		}
		return nil
	})
}
