package tally

// Event is one of Added and Taken. Amounts are positive in each.
type Event interface{ event() }

// Added says that one part of a command was added.
type Added struct {
	TallyID string `avro:"tally_id"`
	Amount  int64  `avro:"amount"`
	Part    int64  `avro:"part"` // from 1
}

// Taken says that an amount was taken; there was as much.
type Taken struct {
	TallyID string `avro:"tally_id"`
	Amount  int64  `avro:"amount"`
}

func (Added) event() {}
func (Taken) event() {}
