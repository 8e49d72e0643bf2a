package processing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/readstore"
)

// SnapshotsSuffix follows an aggregate's name in the name of the read model that keeps its states.
const SnapshotsSuffix = "-snapshots"

// snapshot is the stored document of an aggregate: its state after the event of a version.
type snapshot struct {
	Document
	// State points to the Decider's S.
	State any `json:"state,omitempty"`
	// Unreadable says why the aggregate's events cannot be folded, "" if they can.
	Unreadable string `json:"unreadable,omitempty"`
}

// snapshots makes the read model of the states. Whoever builds it from the log stops at an event that
// cannot be folded, as with every read model; a worker keeps such an aggregate as unreadable.
func (d Decider[S, C, E]) snapshots() *ReadModel {
	m := &ReadModel{
		Name: d.Aggregate + SnapshotsSuffix, Collection: d.Aggregate + SnapshotsSuffix, CodeVersion: cmp.Or(d.StateVersion, 1),
		Aggregates: []string{d.Aggregate}, KeyedAsEvents: true, Snapshots: true,
		newDocument: func() any { return &snapshot{State: new(S)} },
		fold: func(doc any, e Event) (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = fmt.Errorf("the domain panicked: %v", r)
				}
			}()
			s := doc.(*snapshot)
			if s.Unreadable != "" {
				return fmt.Errorf("the aggregate is unreadable: %s", s.Unreadable)
			}
			state, ok := s.State.(*S)
			if !ok { // JSON's null took the pointer's place
				state = new(S)
				s.State = state
			}
			*state = d.Evolve(*state, e.Data.(E))
			return nil
		},
	}
	m.check()
	return m
}

// Snapshots returns the read model that keeps the aggregate's states, "order-snapshots": a document for
// each aggregate, in the bucket of its partition, as of the bucket's checkpoint. Workers write it; it is
// built, verified and pruned as others are, but never promoted: see [CurrentSnapshots].
func (a *Aggregate) Snapshots() *ReadModel { return a.snapshots }

// encodeSnapshot writes what [Aggregate.decodeSnapshot] reads. Equal states give equal texts.
func (a *Aggregate) encodeSnapshot(h held) (string, error) {
	s := snapshot{Document: Document{Version: h.version}, Unreadable: h.unreadable}
	if h.unreadable == "" {
		s.State = a.pointer(h.state)
	}
	text, err := json.Marshal(&s)
	if err != nil {
		return "", fmt.Errorf("encoding state of a %s: %w", a.Name, err)
	}
	return string(text), nil
}

// decodeSnapshot refuses what does not fit the state's type: then the type has changed.
func (a *Aggregate) decodeSnapshot(text string) (held, error) {
	s := a.snapshots.newDocument().(*snapshot)
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(s)
	if err == nil && d.More() {
		err = errors.New("something follows it")
	}
	if err != nil {
		return held{}, fmt.Errorf("reading state of a %s (has its type changed without its Decider's StateVersion?): %w", a.Name, err)
	}
	h := held{state: a.zero, version: s.Version, unreadable: s.Unreadable}
	if s.State != nil && s.Unreadable == "" {
		h.state = a.value(s.State)
	}
	return h, nil
}

// CurrentSnapshots returns the generation that workers use which carry the code version of m, a
// snapshot model: of the ready ones, the last that became so. It reports false if there is none.
func CurrentSnapshots(c readstore.Catalog, m *ReadModel) (readstore.Generation, bool) {
	return lastReady(c, m, func(readstore.Generation) bool { return true })
}

func lastReady(c readstore.Catalog, m *ReadModel, fits func(readstore.Generation) bool) (last readstore.Generation, found bool) {
	for _, g := range c.Generations {
		if g.State != readstore.Ready || g.CodeVersion != m.CodeVersion || !fits(g) {
			continue
		}
		if !found || cmp.Or(g.ReadyAt.Compare(last.ReadyAt), cmp.Compare(g.ID, last.ID)) > 0 {
			last, found = g, true
		}
	}
	return last, found
}

// ChooseSnapshots returns the generation in which workers keep the states of m, a snapshot model: the
// current one, if it was made from the log that id names, or a new one. A new one is ready at once: a
// bucket without a checkpoint is one whose log is to be read from its beginning.
func ChooseSnapshots(ctx context.Context, store readstore.Catalogs, m *ReadModel, id Identity, now time.Time) (readstore.Generation, error) {
	aggregate := m.Aggregates[0]
	buckets := m.Buckets(id.Partitions[aggregate])
	fits := func(g readstore.Generation) bool {
		return g.ClusterID == id.ClusterID && g.TopicIDs[aggregate] == id.TopicIDs[aggregate] && g.Buckets == buckets
	}
	c, err := store.Catalog(ctx, m.Name)
	if err != nil {
		return readstore.Generation{}, fmt.Errorf("reading generations of %s: %w", m.Name, err)
	}
	if g, ok := lastReady(c, m, fits); ok {
		return g, nil
	}
	now = now.UTC()
	var g readstore.Generation
	err = UpdateCatalog(ctx, store, m.Name, func(c *readstore.Catalog) error {
		var ok bool
		if g, ok = lastReady(*c, m, fits); ok {
			return errNotNeeded
		}
		g = readstore.Generation{
			ID: now.Format("20060102-150405-") + uuid.NewString()[:8], Model: m.Name, State: readstore.Ready, CodeVersion: m.CodeVersion,
			Buckets: buckets, ClusterID: id.ClusterID, TopicIDs: map[string]string{aggregate: id.TopicIDs[aggregate]}, CreatedAt: now, ReadyAt: now,
		}
		c.Generations[g.ID] = g
		return nil
	})
	if errors.Is(err, errNotNeeded) {
		err = nil
	}
	return g, err
}

// Retire has nobody choose a generation any more, say because it is broken.
func Retire(ctx context.Context, store readstore.Catalogs, model, generation string) error {
	return UpdateCatalog(ctx, store, model, func(catalog *readstore.Catalog) error {
		if g, ok := catalog.Generations[generation]; ok {
			g.State, g.Builder, g.LeaseUntil = readstore.Retired, "", time.Time{}
			catalog.Generations[generation] = g
		}
		return nil
	})
}

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// survivesJSON returns why values of a type would not come back whole from JSON, "" if they do. A type
// that writes and reads its own JSON is trusted.
func survivesJSON(t reflect.Type, seen map[reflect.Type]bool) string {
	if seen[t] || t.Implements(jsonMarshaler) && reflect.PointerTo(t).Implements(jsonUnmarshaler) {
		return ""
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return survivesJSON(t.Elem(), seen)
	case reflect.Map:
		if why := survivesJSON(t.Key(), seen); why != "" {
			return why
		}
		return survivesJSON(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("json") == "-" {
				return fmt.Sprintf("field %s of %s is left out", f.Name, t)
			}
			if why := survivesJSON(f.Type, seen); why != "" {
				return why
			}
		}
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Sprintf("a %s cannot be read back", t)
	}
	return ""
}
