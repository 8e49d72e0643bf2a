package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ledgerline/ledgerline/prove/history"
)

// evolutionStory is a corpus and a run of it, made by hand: an order in two of three versions, and all is right.
type evolutionStory struct {
	files   map[string]string
	decodes []history.Decode
	changes []history.Change
	gates   []history.Gate
}

const (
	placed1 = `{"type":"record","name":"OrderPlaced","namespace":"ledgerline.order","fields":[{"name":"order_id","type":"string"},{"name":"amount","type":"long"}]}`
	placed3 = `{"type":"record","name":"OrderPlaced","namespace":"ledgerline.order","fields":[{"name":"order_id","type":"string"},{"name":"total_amount","type":"long"},` +
		`{"name":"discount","type":["null","long"]},{"name":"placed_at","type":{"type":"long","logicalType":"timestamp-millis"}}]}`
	placedAt = 1_600_000_000_000
)

func newEvolutionStory(t *testing.T) *evolutionStory {
	t.Helper()
	write := func(schema string, fields map[string]any) []byte {
		payload, err := avro.Marshal(avro.MustParse(schema), fields)
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	at := time.UnixMilli(placedAt).UTC()
	old := write(placed1, map[string]any{"order_id": "o", "amount": int64(5)})
	newest := write(placed3, map[string]any{"order_id": "o", "total_amount": int64(5), "discount": nil, "placed_at": at})
	s := &evolutionStory{files: map[string]string{
		"corpus/ledgerline.order.OrderPlaced.1.avsc": placed1,
		"corpus/ledgerline.order.OrderPlaced.2.avsc": placed1,
		"corpus/ledgerline.order.OrderPlaced.3.avsc": placed3,
		"corpus/hamba.hex":                           hex.EncodeToString(old) + "\n" + hex.EncodeToString(newest) + "\n",
		"changes.jsonl":                              `{"change":"one that is taken"}` + "\n" + `{"change":"one that is not","refused":"field b"}` + "\n",
	}}
	damage := func(payload []byte) history.Damage {
		return history.Damage{Cuts: len(payload) + 5, Flips: len(payload), Leftover: 16, Size: len(payload) + 5, Allocated: 1000}
	}
	s.decodes = []history.Decode{
		{Schema: "ledgerline.order.OrderPlaced.1", Line: 1, By: "hamba", At: placedAt, Payload: old, Newest: bytes.Clone(newest), Damage: damage(old)},
		{Schema: "ledgerline.order.OrderPlaced.3", Line: 2, By: "hamba", At: 7, Payload: newest, Newest: newest, Damage: damage(newest)},
	}
	s.changes = []history.Change{{Line: 1}, {Line: 2, Said: "checking: field b: wrong"}}
	s.gates = []history.Gate{{}}
	return s
}

// judge writes the story and has it judged.
func (s *evolutionStory) judge(t *testing.T) (code int, line, said string) {
	t.Helper()
	root, dir := t.TempDir(), t.TempDir()
	for name, text := range s.files {
		file := filepath.Join(root, "schemas", "testdata", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w, err := history.Create(dir, history.Run{Kind: "evolution", Seed: 7, Again: "SEED=7 prove/run evolution decode"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range s.decodes {
		w.Decode(d)
	}
	for _, c := range s.changes {
		w.Change(c)
	}
	for _, g := range s.gates {
		w.Gate(g)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	code = check([]string{"-evolution", "-root", root, dir}, &out, &problems)
	return code, out.String(), problems.String()
}

func TestEvolution(t *testing.T) {
	code, line, said := newEvolutionStory(t).judge(t)
	want := map[string]any{
		"schema_versions": 3, "corpus_encodings": 2, "decoded": 2, "truncations": 23, "flips": 13,
		"incompatible_changes": 1, "incompatible_caught": 1, "compatible_changes": 1,
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(got, func(_ string, v any) bool { return v == 0.0 })
	if code != 0 || said != "" || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("exit %d\n got %v\nwant %v\n%s", code, got, want, said)
	}
	for law, breaks := range map[string][]func(*evolutionStory){
		"decoded": {
			func(s *evolutionStory) { s.decodes[0].Err = "no" },
			func(s *evolutionStory) { s.decodes = s.decodes[1:] },
		},
		"cross_library_disagreements": {
			func(s *evolutionStory) { s.decodes[0].At++ },
			func(s *evolutionStory) { s.decodes[0].Newest[2]++ },
		},
		"floor": {
			func(s *evolutionStory) { s.decodes[0].Damage.Cuts-- },
			func(s *evolutionStory) { s.decodes[0].Damage.Flips-- },
			func(s *evolutionStory) { s.decodes[0].Damage.Leftover = 0 },
		},
		"truncations_accepted":    {func(s *evolutionStory) { s.decodes[1].Damage.CutsRead = []int{3} }},
		"leftover_bytes_accepted": {func(s *evolutionStory) { s.decodes[1].Damage.LeftoverRead = []int{1} }},
		"flip_panics":             {func(s *evolutionStory) { s.decodes[1].Damage.FlipsPanicked = []int{6} }},
		"allocation_over_16x":     {func(s *evolutionStory) { s.decodes[1].Damage.Allocated = 1 << 20 }},
		"compatible_refused":      {func(s *evolutionStory) { s.changes[0].Said = "no" }},
		"incompatible_caught": {
			func(s *evolutionStory) { s.changes[1].Said = "" },
			func(s *evolutionStory) { s.changes[1].Said = "field c: wrong" },
		},
		"corpus_differences": {func(s *evolutionStory) { s.gates[0].Wrong = []string{"one"} }},
	} {
		for i, breakIt := range breaks {
			s := newEvolutionStory(t)
			breakIt(s)
			if code, _, said := s.judge(t); code != 1 || !strings.Contains(said, "law "+law+" is broken") || !strings.Contains(said, "again: SEED=7") {
				t.Errorf("%s %d: exit %d: %s", law, i, code, said)
			}
		}
	}
	for name, breakIt := range map[string]func(*evolutionStory){
		"a record twice":            func(s *evolutionStory) { s.decodes = append(s.decodes, s.decodes[0]) },
		"another record":            func(s *evolutionStory) { s.decodes[0].Payload[0]++ },
		"a version nobody knows":    func(s *evolutionStory) { s.files["corpus/ledgerline.order.OrderPlaced.4.avsc"] = placed3 },
		"a change that was left":    func(s *evolutionStory) { s.changes = s.changes[:1] },
		"no word of the corpus":     func(s *evolutionStory) { s.gates = nil },
		"a corpus that is no hex":   func(s *evolutionStory) { s.files["corpus/hamba.hex"] = "x\n" },
		"a list that is no JSON":    func(s *evolutionStory) { s.files["changes.jsonl"] = "x\n" },
		"a version without a value": func(s *evolutionStory) { s.files["corpus/ledgerline.order.OrderPlaced.avsc"] = placed3 },
	} {
		s := newEvolutionStory(t)
		breakIt(s)
		if code, _, said := s.judge(t); code != 2 || said == "" {
			t.Errorf("%s: exit %d: %s", name, code, said)
		}
	}
}
