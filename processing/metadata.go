package processing

import (
	"fmt"
	"time"
)

// Metadata is committed with every offset of a commands partition: what its next owner needs to know.
type Metadata struct {
	// Floor is the time below which command ids are refused.
	Floor time.Time
	// LastEvent and LastOutcome are the offsets of the last event and outcome of the partition, -1 for
	// none. A recovery that ends before them has not seen everything.
	LastEvent, LastOutcome int64
	// LowestOutcome is where reading back the command ids starts, -1 for none.
	LowestOutcome int64
}

const metadataFormat = "ledgerline/1 floor=%d event=%d outcome=%d lowest=%d"

// String is the committed form.
func (m Metadata) String() string {
	return fmt.Sprintf(metadataFormat, m.Floor.UnixMilli(), m.LastEvent, m.LastOutcome, m.LowestOutcome)
}

// ParseMetadata reads what [Metadata.String] writes. An error means that somebody else committed.
func ParseMetadata(s string) (Metadata, error) {
	var m Metadata
	var floor int64
	if _, err := fmt.Sscanf(s, metadataFormat, &floor, &m.LastEvent, &m.LastOutcome, &m.LowestOutcome); err != nil {
		return Metadata{}, fmt.Errorf("reading commit metadata %q: %w", s, err)
	}
	m.Floor = time.UnixMilli(floor)
	if m.String() != s {
		return Metadata{}, fmt.Errorf("reading commit metadata %q: something follows it", s)
	}
	return m, nil
}
