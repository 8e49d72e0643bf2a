package processing

import (
	"fmt"
	"time"
)

// Metadata is committed with every offset of a commands partition: what its next owner needs to know.
type Metadata struct {
	// Floor is the time below which command ids are refused, At that of the last decision.
	Floor, At time.Time
	// LastEvent and LastOutcome are the offsets of the last event and outcome of the partition, -1 for
	// none. A recovery that ends before them has not seen everything.
	LastEvent, LastOutcome int64
	// LowestOutcome is that of the lowest outcome by which a command id is known, -1 for none.
	LowestOutcome int64
}

// FirstOutcome returns where reading back the outcomes begins: with the first one that is needed, be it
// only to see that the last one is there.
func (m Metadata) FirstOutcome() int64 {
	if m.LowestOutcome >= 0 {
		return m.LowestOutcome
	}
	return max(m.LastOutcome, 0)
}

const metadataFormat = "ledgerline/1 floor=%d event=%d outcome=%d lowest=%d at=%d"

// String is the committed form.
func (m Metadata) String() string {
	return fmt.Sprintf(metadataFormat, m.Floor.UnixMilli(), m.LastEvent, m.LastOutcome, m.LowestOutcome, m.At.UnixMilli())
}

// ParseMetadata reads what [Metadata.String] writes. An error means that somebody else committed.
func ParseMetadata(s string) (Metadata, error) {
	var m Metadata
	var floor, at int64
	if _, err := fmt.Sscanf(s, metadataFormat, &floor, &m.LastEvent, &m.LastOutcome, &m.LowestOutcome, &at); err != nil {
		return Metadata{}, fmt.Errorf("reading commit metadata %q: %w", s, err)
	}
	m.Floor, m.At = time.UnixMilli(floor), time.UnixMilli(at).UTC()
	if m.String() != s {
		return Metadata{}, fmt.Errorf("reading commit metadata %q: something follows it", s)
	}
	return m, nil
}
