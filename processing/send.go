package processing

import (
	"context"
	"errors"
	"time"
)

// Request is a command on its way in, before it has a place in a topic.
type Request struct {
	Aggregate   *Aggregate
	AggregateID string
	// Type is the command's, Data a value of its Go type.
	Type Type
	Data any
	// ID is the command's UUID.
	ID string
	// Expected is as in [Command].
	Expected      *int64
	CorrelationID string
	TraceParent   string
}

// Sender is what an adapter such as HTTP needs to get a command decided.
type Sender interface {
	// Send appends the command to its topic and waits for the outcome, until ctx ends. It returns
	// ErrUndecided if the command is appended but not decided in time, ErrUnconfirmed if nobody knows
	// whether it was appended, ErrInProgress if this process already waits for a command of that id,
	// and ErrBacklogFull before appending anything.
	Send(ctx context.Context, r Request) (Outcome, error)
	// Decision returns the stored decision on a command, whichever process took or made it. It looks
	// among those made since the command was sent, since, if that is not zero, or since the time in its
	// id; if it has none, among those of the last hour. Without a decision it returns why none was made, if
	// that is known, else ErrUndecided.
	Decision(ctx context.Context, aggregate, aggregateID, commandID string, since time.Time) (Outcome, error)
}

// What Send returns besides an outcome.
var (
	ErrUndecided   = errors.New("command is not decided yet")
	ErrUnconfirmed = errors.New("nobody knows whether the command was appended")
	ErrInProgress  = errors.New("a command of this id is in progress")
	ErrBacklogFull = errors.New("too many commands wait to be decided")
)
