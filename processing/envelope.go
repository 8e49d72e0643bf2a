package processing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ledgerline/ledgerline/readstore"
)

// Command is a decoded command with where it stands in its topic.
type Command struct {
	// ID is the command's UUID; of an aggregate, it is decided at most once.
	ID string
	// Aggregate is the aggregate's name, AggregateID its id (the record's key).
	Aggregate   string
	AggregateID string
	// Type is the simple name of Data's type.
	Type string
	Data any
	// BodyHash identifies Data and Expected: two commands with one id must agree on it.
	BodyHash [16]byte
	// Expected is the version that the aggregate must have, 0 for "must not exist", nil for any.
	Expected      *int64
	CorrelationID string
	// CausationID is what the command came of: of a redriven one, the id that it had before.
	CausationID string
	TraceParent string
	// Partition and Offset are the record's in the commands topic.
	Partition int32
	Offset    int64
}

// Event is a decoded event with where it stands in its topic.
type Event struct {
	// ID is derived from the command's id and the event's index in it.
	ID          string
	Aggregate   string
	AggregateID string
	// Type is the simple name of Data's type.
	Type string
	Data any
	// Version is the aggregate's version after the event, from 1.
	Version int64
	Time    time.Time
	// CommandID and CommandOffset name the command that the event came of, Last its last event. The offset
	// is -1 if the command lies in the topics of another prefix, that this one was migrated from.
	CommandID     string
	CommandOffset int64
	Last          bool
	// CorrelationID, CausationID and TraceParent are the command's.
	CorrelationID string
	CausationID   string
	TraceParent   string
	// Partition and Offset are the record's in the events topic.
	Partition int32
	Offset    int64
	// Undecodable is why this binary cannot decode the record, nil if it can. With it Data is nil, and of what
	// the headers should say that may be missing which cannot be read: Version is 0 then, CommandOffset -1.
	Undecodable error
}

// Source is the partition of events that the event lies in.
func (e *Event) Source() readstore.Source {
	return readstore.Source{Aggregate: e.Aggregate, Partition: e.Partition}
}

// Status is what became of a command.
type Status string

// The statuses of an outcome.
const (
	Accepted Status = "ACCEPTED" // its events are appended
	Refused  Status = "REFUSED"  // the domain said no, Code says why
	Failed   Status = "FAILED"   // it could not be decided, Code says why; not remembered
)

// Outcome is the stored answer to a command.
type Outcome struct {
	CommandID   string `avro:"command_id"`
	Aggregate   string `avro:"aggregate"`
	AggregateID string `avro:"aggregate_id"`
	CommandType string `avro:"command_type"`
	Status      Status `avro:"status"`
	// Decision is true if this is the decision, false if it repeats one or says why none was made.
	Decision bool   `avro:"decision"`
	Code     string `avro:"code"`
	Detail   string `avro:"detail"`
	// Version is the aggregate's version after the command.
	Version int64      `avro:"version"`
	Events  []EventRef `avro:"events"`
	// CommandOffset is the offset in the commands topic of the command that was decided: of a repeat,
	// the original's; -1 if it lies in the topics of another prefix, that this one was migrated from. The
	// partition is the record's own.
	CommandOffset int64     `avro:"command_offset"`
	BodyHash      []byte    `avro:"body_hash"`
	Time          time.Time `avro:"time"`

	// Partition and Offset are the record's in the outcomes topic.
	Partition int32 `avro:"-"`
	Offset    int64 `avro:"-"`
}

// EventRef names one event of an outcome.
type EventRef struct {
	ID      string `avro:"id" json:"id"`
	Type    string `avro:"type" json:"type"`
	Version int64  `avro:"version" json:"version"`
}

// Position returns the read-your-writes token of an accepted outcome, and false if there is nothing to wait
// for: the outcome names no events, or they were there before anything of this prefix was decided.
func (o Outcome) Position() (Position, bool) {
	return Position{Aggregate: o.Aggregate, Partition: o.Partition, Offset: o.CommandOffset}, len(o.Events) > 0 && o.CommandOffset >= 0
}

// The codes of outcomes that the engine gives itself.
const (
	CodeInvalidCommand      = "invalid-command"
	CodeUnreadable          = "aggregate-unreadable"
	CodeKeyReused           = "idempotency-key-reused"
	CodeTooOld              = "command-too-old"
	CodeFromTheFuture       = "command-from-the-future"
	CodeDedupeFull          = "dedupe-full"
	CodeDecideFailed        = "decide-failed"
	CodeUndecodable         = "undecodable"
	CodeTooLarge            = "too-large"
	CodeUnknownCommandType  = "unknown-command-type"
	CodeInvalidAggregateID  = "invalid-aggregate-id"
	CodeMisplaced           = "misplaced"
	CodeOutcomeNotAvailable = "outcome-not-available"
)

// Position is the read-your-writes token: partition and offset of a command in the commands topic of
// an aggregate. A read model has it once it has applied every event of that command.
type Position struct {
	Aggregate string
	Partition int32
	Offset    int64
}

// String writes the position as "order/3@1207".
func (p Position) String() string { return fmt.Sprintf("%s/%d@%d", p.Aggregate, p.Partition, p.Offset) }

// ParsePosition reads what [Position.String] writes.
func ParsePosition(s string) (Position, error) {
	aggregate, rest, ok := strings.Cut(s, "/")
	partition, offset, ok2 := strings.Cut(rest, "@")
	p, err := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || !ok2 || aggregate == "" || err != nil || err2 != nil || p < 0 || o < 0 {
		return Position{}, fmt.Errorf("reading position %q: want aggregate/partition@offset, like order/3@1207", s)
	}
	return Position{Aggregate: aggregate, Partition: int32(p), Offset: o}, nil
}
