package processing

import (
	"context"
	"fmt"

	"github.com/ledgerline/ledgerline/readstore"
)

// Mark is where a source's log begins, and the offset that its next record will get.
type Mark struct{ Start, End int64 }

// Identity says which log it is: another cluster's, or a recreated topic, has other ids.
type Identity struct {
	ClusterID string
	// TopicIDs are those of the events topics, by aggregate, and Partitions how many each has.
	TopicIDs   map[string]string
	Partitions map[string]int32
}

// Log reads events.
type Log interface {
	Identity(ctx context.Context) (Identity, error)
	// Marks returns the marks of every partition of the aggregates' events.
	Marks(ctx context.Context, aggregates []string) (map[readstore.Source]Mark, error)
	// Read delivers the events of the given sources from the given offsets on, until ctx ends or visit
	// returns an error, which it returns. Sources in rewind are read again from the offset given there.
	Read(ctx context.Context, from map[readstore.Source]int64, visit func(Fetched) (rewind map[readstore.Source]int64, err error)) error
}

// sourcesOf returns the marks of a model's sources, and refuses a log whose beginning is gone.
func sourcesOf(ctx context.Context, log Log, m *ReadModel) (map[readstore.Source]Mark, error) {
	marks, err := log.Marks(ctx, m.Aggregates)
	if err != nil {
		return nil, err
	}
	return marks, whole(m, marks)
}

// whole refuses a log whose beginning is gone.
func whole(m *ReadModel, marks map[readstore.Source]Mark) error {
	for s, mark := range marks {
		if mark.Start > 0 {
			return fmt.Errorf("building %s: the log of %s begins at %d, not at 0: its first events are gone (set retention.ms=-1 on the events topic)", m.Name, s, mark.Start)
		}
	}
	return nil
}
