package tally

// Command is one of Add and Take.
type Command interface{ command() }

// Add adds Amount as often as Parts says, each time an event.
type Add struct {
	Amount int64 `avro:"amount"`
	Parts  int64 `avro:"parts"` // 1 to MaxParts
}

// Take takes an amount, at most what there is.
type Take struct {
	Amount int64 `avro:"amount"`
}

func (Add) command()  {}
func (Take) command() {}
