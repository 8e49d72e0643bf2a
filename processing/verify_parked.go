package processing

import (
	"fmt"
	"strconv"
)

// waiting is what a bucket says is parked of an aggregate, and how much of that the log has shown.
type waiting struct {
	events []ParkedEvent
	seen   int
}

func waitingIn(texts map[string]string) (map[string]*waiting, error) {
	parked, err := parseParked(texts)
	lists := make(map[string]*waiting, len(parked))
	for name, p := range parked {
		lists[name] = &waiting{events: p.Events}
	}
	return lists, err
}

// waits reports whether an event is parked in a bucket. What follows the first parked one of its aggregate must
// be, in order. try says whether the event could be applied.
func (m *memory) waits(n int, e Event, v *Verification, try func() error) bool {
	w := m.parked[n][ParkedName(e.Aggregate, e.AggregateID)]
	if w == nil || w.seen == 0 && e.Offset != w.events[0].Offset {
		return false
	}
	if w.seen == len(w.events) || e.Offset != w.events[w.seen].Offset {
		v.add(Difference{Bucket: strconv.Itoa(n), What: "parked", Key: eventKey(e), Log: "an event behind parked ones", Store: "not parked in its place"})
		return true
	}
	if w.seen++; w.seen == 1 && try() == nil {
		v.redrivable(e)
	}
	return true
}

func eventKey(e Event) string { return fmt.Sprintf("%s/%s@%d", e.Aggregate, e.AggregateID, e.Offset) }

// notApplied tells of an event that cannot be applied and is not parked.
func (v *Verification) notApplied(n int, e Event, cause error) {
	v.add(Difference{Bucket: strconv.Itoa(n), What: "event", Key: eventKey(e), Log: cause.Error(), Store: "not parked"})
}

func (v *Verification) redrivable(e Event) {
	if v.can == nil {
		v.can = map[string]bool{}
	}
	v.can[ParkedName(e.Aggregate, e.AggregateID)] = true
	v.Redrivable = len(v.can)
}

func (v *Verification) waiting(name string) {
	if v.wait == nil {
		v.wait = map[string]bool{}
	}
	v.wait[name] = true
	v.Parked = len(v.wait)
}
