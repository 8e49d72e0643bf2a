package ledgerline

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ledgerline/ledgerline/processing"
)

// letterID names what could not be processed, as `rebuild dead-letters` shows and takes it: a command in the
// dead letters (order.dead-letters/0@17), or an aggregate that a read model has parked
// (order-status:order/o-1).
type letterID struct {
	aggregate string
	// Of a command.
	partition int32
	offset    int64
	// Of a parked aggregate; model is "" for a command.
	model, aggregateID string
}

const deadLettersEnd = ".dead-letters"

func (id letterID) String() string {
	if id.model != "" {
		return id.model + ":" + id.aggregate + "/" + id.aggregateID
	}
	return fmt.Sprintf("%s%s/%d@%d", id.aggregate, deadLettersEnd, id.partition, id.offset)
}

// UnmarshalText reads what String writes, and nothing else.
func (id *letterID) UnmarshalText(text []byte) error {
	place, rest, _ := strings.Cut(string(text), "/")
	var read letterID
	if model, aggregate, parked := strings.Cut(place, ":"); parked {
		read = letterID{model: model, aggregate: aggregate, aggregateID: rest}
		if err := processing.ValidateID("id", rest); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	} else {
		aggregate, _ := strings.CutSuffix(place, deadLettersEnd)
		partition, offset, _ := strings.Cut(rest, "@")
		n, _ := strconv.ParseUint(partition, 10, 31) // what is no number is told below
		at, _ := strconv.ParseUint(offset, 10, 63)
		read = letterID{aggregate: aggregate, partition: int32(n & math.MaxInt32), offset: int64(at & math.MaxInt64)}
	}
	if read.aggregate == "" || read.String() != string(text) {
		return fmt.Errorf("%q is neither a dead letter's id (order.dead-letters/0@17) nor a parked aggregate's (order-status:order/o-1); see: rebuild dead-letters list", text)
	}
	*id = read
	return nil
}
