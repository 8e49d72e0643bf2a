package loyalty

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

// MaxPoints is the most that one command earns: nine billion of those fit into a balance.
const MaxPoints = 1_000_000_000

// Command is one of EarnPoints, SpendPoints and ExpirePoints.
type Command interface{ command() }

// EarnPoints gives points. Whoever gets the first is a member from then on.
type EarnPoints struct {
	Points int64 `avro:"points"`
	// Reason is an id that points are counted by, like "purchase".
	Reason string `avro:"reason"`
}

// SpendPoints takes points for something, at most those that there are.
type SpendPoints struct {
	Points int64 `avro:"points"`
}

// ExpirePoints takes points because they are too old, at most those that there are.
type ExpirePoints struct {
	Points int64 `avro:"points"`
}

func (EarnPoints) command()   {}
func (SpendPoints) command()  {}
func (ExpirePoints) command() {}

// Validate returns a *processing.FieldError if the points are above MaxPoints or the reason is no id.
func (c EarnPoints) Validate() error {
	if c.Points > MaxPoints {
		return &processing.FieldError{Field: "points", Reason: fmt.Sprintf("want at most %d, got %d", MaxPoints, c.Points)}
	}
	return processing.ValidateID("reason", c.Reason)
}
