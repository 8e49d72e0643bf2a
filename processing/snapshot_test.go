package processing

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
)

func (s *states) heldByID() map[string]held {
	all := map[string]held{}
	for id, e := range s.entries {
		all[id] = e.held
	}
	return all
}

// saver is what a worker does about the snapshots of one partition, on a store that loses answers, is
// wiped and is restored.
type saver struct {
	log    *topics
	store  *memstore.Store
	memory *StateMemory
	p      *Partition
	g      readstore.Generation
	late   []readstore.Write   // sent, and not arrived
	dumps  []readstore.Content // of the bucket
	struck map[string]int
}

func newSaver(t rapid.TB, limit int64, struck map[string]int) *saver {
	s := &saver{log: newTopics(), store: memstore.New(), memory: NewStateMemory(limit), struck: struck}
	s.recover(t)
	return s
}

func (s *saver) bucket() readstore.Bucket {
	return readstore.Bucket{Model: "jar-snapshots", Generation: s.g.ID, Number: 3}
}

// recover makes the partition again, from the snapshot that there is and the log after it.
func (s *saver) recover(t rapid.TB) {
	t.Helper()
	if s.p != nil {
		s.p.Release()
	}
	for !s.tryRecover(t) {
		s.struck["moved in a recovery"]++
	}
	if s.memory.Changed()+s.memory.Cached() < 0 {
		t.Fatalf("memory is below nothing: %+v", s.memory.used)
	}
}

func (s *saver) tryRecover(t rapid.TB) bool {
	t.Helper()
	ctx := context.Background()
	var err error
	id := Identity{ClusterID: "c", TopicIDs: map[string]string{"jar": "t"}, Partitions: map[string]int32{"jar": 4}}
	if s.g, err = ChooseSnapshots(ctx, s.store, jars.Snapshots(), id, noon); err != nil {
		t.Fatal(err)
	}
	m := Metadata{LastEvent: -1, LastOutcome: -1, LowestOutcome: -1}
	if s.log.metadata != "" {
		if m, err = ParseMetadata(s.log.metadata); err != nil {
			t.Fatal(err)
		}
	}
	s.p = NewPartition(jars, 3, s.log.next, m)
	_, checkpoints, err := s.store.Load(ctx, s.bucket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := checkpoints[s.p.Source()]
	s.p.UseSnapshot(s.memory, at)
	for _, e := range s.log.events {
		if e.Offset < at.Offset {
			continue
		}
		if !s.load(t, s.p.NeedsToRecover([]string{e.AggregateID})) {
			s.p.Release()
			return false
		}
		s.p.RecoverEvent(e)
		if s.p.Unsaved() >= 2 && s.memory.Pressing() { // also between the events of one command
			w := s.p.Snapshot(s.g)
			write, err := w.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if s.p.Saved(w, s.apply(t, write), nil) != nil {
				s.p.Release()
				return false
			}
			s.memory.Trim()
			s.struck["written in a recovery"]++
		}
	}
	for o := max(m.LowestOutcome, 0); o < s.log.nextOutcome; o++ {
		if out, ok := s.log.outcomes[o]; ok {
			s.p.RecoverOutcome(out, s.log.inputs[o])
		}
	}
	if s.p.Reached() < m.LastEvent || m.LastOutcome != s.p.LastOutcome() {
		t.Fatalf("recovered up to event %d and outcome %d, the metadata says %s", s.p.Reached(), s.p.LastOutcome(), s.log.metadata)
	}
	return true
}

// load reports whether the snapshot was where it should be.
func (s *saver) load(t rapid.TB, ids []string) bool {
	t.Helper()
	if len(ids) == 0 {
		return true
	}
	unanswered := s.p.Unanswered()
	documents, checkpoints, err := s.store.Load(context.Background(), s.bucket(), ids)
	if err != nil {
		t.Fatal(err)
	}
	err = s.p.Loaded(ids, documents, checkpoints)
	if err != nil && !errors.Is(err, ErrSnapshotMoved) {
		t.Fatal(err)
	}
	if unanswered && err == nil {
		s.struck["a load told of a write"]++
	}
	s.struck["loaded"]++
	return err == nil
}

// commit decides a batch, with what that takes.
func (s *saver) commit(t rapid.TB, now time.Time, inputs []Input) {
	t.Helper()
	for !s.load(t, s.p.Needs(inputs)) {
		s.struck["moved before a decision"]++
		s.recover(t)
	}
	s.log.commit(t, s.p, now, inputs...)
	s.memory.Trim()
}

func (s *saver) apply(t rapid.TB, w readstore.Write) readstore.Result {
	t.Helper()
	results, err := s.store.Apply(context.Background(), []readstore.Write{w})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// look asks the store where it is, and recovers if that is not where the partition left it.
func (s *saver) look(t rapid.TB) {
	t.Helper()
	_, checkpoints, err := s.store.Load(context.Background(), s.bucket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.p.Loaded(nil, nil, checkpoints) != nil {
		s.recover(t)
	}
}

// act does one of the things that happen to snapshots.
func (s *saver) act(t rapid.TB, action string) {
	t.Helper()
	w := (*SnapshotWrite)(nil)
	if strings.HasPrefix(action, "write") {
		if w = s.p.Snapshot(s.g); w == nil {
			return
		}
	}
	s.struck[action]++
	lost := errors.New("no answer")
	switch action {
	case "write":
		write, err := w.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.p.Saved(w, s.apply(t, write), nil); errors.Is(err, ErrSnapshotMoved) {
			s.struck["moved before a write"]++
			s.recover(t)
		} else if err != nil {
			t.Fatal(err)
		}
	case "write whose answer is lost", "write that is late":
		write, err := w.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if action == "write that is late" {
			s.late = append(s.late, write)
		} else {
			s.apply(t, write)
		}
		if err := s.p.Saved(w, readstore.Result{}, lost); err != nil {
			t.Fatal(err)
		}
	case "late writes arrive":
		for _, write := range s.late {
			s.apply(t, write)
		}
		s.late = nil
	case "look":
		if s.p.Unanswered() {
			s.look(t)
		}
	case "dump":
		content, err := s.store.Inspect(context.Background(), s.bucket())
		if err != nil {
			t.Fatal(err)
		}
		s.dumps = append(s.dumps, content)
	case "restore": // all else is as it was, the bucket is as it was dumped
		if len(s.dumps) == 0 {
			return
		}
		content := s.dumps[len(s.dumps)-1]
		catalog, err := s.store.Catalog(context.Background(), "jar-snapshots")
		if err != nil {
			t.Fatal(err)
		}
		s.store = memstore.New()
		catalog.Revision = ""
		if err := s.store.UpdateCatalog(context.Background(), "jar-snapshots", catalog); err != nil {
			t.Fatal(err)
		}
		if at, ok := content.Checkpoints[s.p.Source()]; ok {
			write := readstore.Write{Bucket: s.bucket(), Advances: []readstore.Advance{{Source: s.p.Source(), To: at}}}
			for id, text := range content.Documents {
				write.Ops = append(write.Ops, readstore.Op{Kind: readstore.SetDocument, ID: id, Value: text})
			}
			if !s.apply(t, write).Applied {
				t.Fatal("restored nothing")
			}
		}
	case "wipe":
		s.store, s.dumps = memstore.New(), nil
	case "crash":
		s.memory = NewStateMemory(s.memory.limit)
		s.p = nil
		s.recover(t)
	}
}

var snapshotActions = []string{"write", "write", "write", "write whose answer is lost", "write that is late", "late writes arrive", "look", "dump", "restore", "wipe", "crash"}

// TestSnapshotsChangeNothing decides the same commands with snapshots and without. Whenever snapshots
// are written, lost, wiped and restored, however little fits into memory and whenever the worker dies:
// nothing of that may be seen.
func TestSnapshotsChangeNothing(t *testing.T) {
	struck := map[string]int{}
	missing := func() string {
		for _, what := range append(slices.Clone(snapshotActions), "loaded", "a load told of a write", "written in a recovery", "moved before a decision", "moved before a write") {
			if struck[what] == 0 {
				return what
			}
		}
		return ""
	}
	// Once in 40 times, a hundred runs do not have all of it.
	for tries := 0; tries == 0 || tries < 10 && missing() != ""; tries++ {
		rapid.Check(t, func(t *rapid.T) { decideBesideSnapshots(t, struck) })
	}
	if what := missing(); what != "" {
		t.Errorf("never: %s", what)
	}
}

func decideBesideSnapshots(t *rapid.T, struck map[string]int) {
	ticks := drawTicks(t)
	straight := newTopics()
	p := straight.recover(t)
	s := newSaver(t, rapid.SampledFrom([]int64{0, 600, 1 << 20}).Draw(t, "limit"), struck)
	for _, tk := range ticks {
		straight.commit(t, p, tk.now, tk.inputs...)
		for _, action := range rapid.SliceOfN(rapid.SampledFrom(snapshotActions), 0, 4).Draw(t, "actions") {
			s.act(t, action)
		}
		s.commit(t, tk.now, tk.inputs)
		s.log.checkMetadata(t, s.p)
		if used := s.memory.Cached(); used > 0 && s.memory.Changed()+used > s.memory.limit {
			t.Fatalf("%d bytes are cached beside %d of %d", used, s.memory.Changed(), s.memory.limit)
		}
	}
	s.log.checkLog(t)
	if want, got := straight.told(), s.log.told(); !reflect.DeepEqual(want, got) {
		t.Fatalf("want %+v\ngot  %+v", want, got)
	}
	s.look(t) // a store that was rolled back since is met by the next load or write
	s.act(t, "write")
	s.checkDocuments(t, p)
}

// checkDocuments holds what is stored to what the plain partition knows.
func (s *saver) checkDocuments(t rapid.TB, plain *Partition) {
	t.Helper()
	content, err := s.store.Inspect(context.Background(), s.bucket())
	if err != nil {
		t.Fatal(err)
	}
	if s.p.Unanswered() || s.p.Unsaved() > 0 || len(content.Checkpoints) == 0 {
		return
	}
	want := map[string]string{}
	for id, h := range plain.states.heldByID() {
		if want[id], err = jars.encodeSnapshot(h); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(want, content.Documents) {
		t.Fatalf("snapshot holds %v, want %v", content.Documents, want)
	}
}

// TestUnreadableSurvivesASnapshot: the commands of an aggregate whose events cannot be decoded fail also
// after its events are behind a snapshot.
func TestUnreadableSurvivesASnapshot(t *testing.T) {
	s := newSaver(t, 0, map[string]int{})
	s.commit(t, noon, []Input{command(0, "a", timedID(noon, 1), Put{1}, nil), command(1, "b", timedID(noon, 2), Put{2}, nil)})
	s.p.RecoverUnreadable("a", 7, errors.New("what is this"))
	s.log.nextEvent = 8
	s.act(t, "write")
	s.act(t, "crash")
	s.commit(t, noon, []Input{command(2, "a", timedID(noon, 3), Put{1}, nil), command(3, "b", timedID(noon, 4), Take{2}, nil)})
	got := s.log.told().Outcomes
	if got[2].Status != Failed || got[2].Code != CodeUnreadable || got[2].Version != 1 || !strings.Contains(got[2].Detail, "event at offset 7: what is this") {
		t.Errorf("unreadable aggregate: %+v", got[2])
	}
	if got[3].Status != Accepted || got[3].Version != 2 {
		t.Errorf("the other one: %+v", got[3])
	}
	if n := len(s.p.states.entries); n > 2 || s.struck["loaded"] == 0 {
		t.Errorf("%d held, loaded %d times", n, s.struck["loaded"])
	}
}

// TestSnapshotOfAnotherType: a document that does not fit is not taken for one that does.
func TestSnapshotOfAnotherType(t *testing.T) {
	for _, text := range []string{`{"version":1,"state":{"Coins":1,"Events":1,"Colour":2}}`, `{"version":1,"state":{"Coins":"1"}}`, `{"version":1} {}`, `x`} {
		s := newSaver(t, 0, map[string]int{})
		s.commit(t, noon, []Input{command(0, "a", timedID(noon, 1), Put{1}, nil)})
		s.act(t, "write")
		s.memory.Trim()
		_, checkpoints, err := s.store.Load(t.Context(), s.bucket(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.p.Loaded([]string{"a"}, map[string]string{"a": text}, checkpoints); !errors.Is(err, readstore.ErrBroken) {
			t.Errorf("%s: got %v, want one that wraps ErrBroken", text, err)
		}
	}
}

func TestChooseSnapshots(t *testing.T) {
	ctx, store, m := t.Context(), memstore.New(), jars.Snapshots()
	choose := func(change func(id *Identity), at time.Time) string {
		t.Helper()
		id := Identity{ClusterID: "c", TopicIDs: map[string]string{"jar": "t"}, Partitions: map[string]int32{"jar": 4}}
		change(&id)
		g, err := ChooseSnapshots(ctx, store, m, id, at)
		if err != nil {
			t.Fatal(err)
		}
		if g.State != readstore.Ready || g.CodeVersion != m.CodeVersion || g.Buckets != int(id.Partitions["jar"]) || g.ClusterID != id.ClusterID || !maps.Equal(g.TopicIDs, id.TopicIDs) {
			t.Errorf("chosen: %+v", g)
		}
		return g.ID
	}
	same := func(*Identity) {}
	first := choose(same, noon)
	if again := choose(same, noon.Add(time.Hour)); again != first {
		t.Errorf("chose %s, then %s", first, again)
	}
	for name, change := range map[string]func(*Identity){
		"cluster":    func(id *Identity) { id.ClusterID = "d" },
		"topic":      func(id *Identity) { id.TopicIDs["jar"] = "u" },
		"partitions": func(id *Identity) { id.Partitions["jar"] = 5 },
	} {
		if other := choose(change, noon.Add(-time.Hour)); other == first {
			t.Errorf("another %s: the same generation", name)
		}
	}
	v2 := *m
	v2.CodeVersion, m = 2, &v2
	newer := choose(same, noon)
	if newer == first {
		t.Error("another code version: the same generation")
	}
	m = jars.Snapshots()
	if err := Retire(ctx, store, m.Name, first); err != nil {
		t.Fatal(err)
	}
	second := choose(same, noon.Add(-2*time.Hour))
	if second == first {
		t.Error("a retired generation is chosen")
	}
	// A generation that became ready later, as one by `rebuild run` does, is chosen by those who come.
	err := UpdateCatalog(ctx, store, m.Name, func(c *readstore.Catalog) error {
		g := c.Generations[second]
		g.ID, g.ReadyAt = "by-hand", g.ReadyAt.Add(time.Second)
		c.Generations[g.ID] = g
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if third := choose(same, noon); third != "by-hand" {
		t.Errorf("chose %s, not the one that became ready last", third)
	}
	c, err := store.Catalog(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	if g, ok := CurrentSnapshots(c, &v2); !ok || g.ID != newer {
		t.Errorf("current of version 2: %+v, want %s", g, newer)
	}
}

func TestStateMustSurviveJSON(t *testing.T) {
	type ring struct{ Next *ring }
	for _, good := range []any{jar{}, ring{}, 0, "", time.Time{}, struct{ M map[string][]Money }{}} {
		if why := survivesJSON(reflect.TypeOf(good), map[reflect.Type]bool{}); why != "" {
			t.Errorf("%T: %s", good, why)
		}
	}
	for _, bad := range []any{struct{ x int }{}, struct{ F func() }{}, struct{ A []any }{}, struct {
		A int `json:"-"`
	}{}, map[string]struct{ c int }{}, complex(1, 2)} {
		if why := survivesJSON(reflect.TypeOf(bad), map[reflect.Type]bool{}); why == "" {
			t.Errorf("%T: taken", bad)
		}
	}
}
