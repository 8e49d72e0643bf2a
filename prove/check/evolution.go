package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ledgerline/ledgerline/prove/history"
)

// fixedAllocation is what reading a record may take beside 16 times its size, in bytes: the value, its
// upcasts, and the error that says what is wrong with it.
const fixedAllocation = 4 << 10

// evolutionReport is what the last line says of a run of evolution.
type evolutionReport struct {
	SchemaVersions       int `json:"schema_versions"`
	CorpusEncodings      int `json:"corpus_encodings"`
	Decoded              int `json:"decoded"`
	Disagreements        int `json:"cross_library_disagreements"`
	Truncations          int `json:"truncations"`
	TruncationsAccepted  int `json:"truncations_accepted"`
	Flips                int `json:"flips"`
	FlipPanics           int `json:"flip_panics"`
	LeftoverAccepted     int `json:"leftover_bytes_accepted"`
	AllocationOver16x    int `json:"allocation_over_16x"`
	IncompatibleChanges  int `json:"incompatible_changes"`
	IncompatibleCaught   int `json:"incompatible_caught"`
	CompatibleChanges    int `json:"compatible_changes"`
	CompatibleRefused    int `json:"compatible_refused"`
	DifferencesOfTheGate int `json:"corpus_differences"`
	mutantCount

	broken []string
}

// judgeEvolution judges a run's folder, with the corpus and the list of changes of the repository.
func judgeEvolution(o options, dirs []string) (*evolutionReport, error) {
	folders, err := findRuns(dirs)
	if err != nil {
		return nil, err
	}
	if len(folders) != 1 || !history.Finished(folders[0]) {
		return nil, fmt.Errorf("want one finished run, found %v", folders)
	}
	r := &evolutionReport{}
	run, err := history.ReadRun(folders[0])
	if err == nil {
		err = errors.Join(r.judgeDecodes(o.root, folders[0]), r.judgeChanges(o.root, folders[0]), r.judgeGate(folders[0]))
	}
	if err != nil {
		return nil, err
	}
	for i := range r.broken {
		r.broken[i] += fmt.Sprintf(" (seed %d, %s); again: %s", run.Seed, folders[0], run.Again)
	}
	uncaught, err := r.readMutants(o.mutants)
	r.broken = append(r.broken, uncaught...)
	return r, err
}

func (r *evolutionReport) broke(count *int, law, format string, args ...any) {
	if *count++; *count <= maxDetails {
		r.broken = append(r.broken, "law "+law+" is broken: "+fmt.Sprintf(format, args...))
	}
}

// judgeDecodes wants every record of the corpus to be read as what the checker makes of it, and nothing
// damaged to be taken.
func (r *evolutionReport) judgeDecodes(root, dir string) error {
	corpus := filepath.Join(root, "schemas", "testdata", "corpus")
	versions, newest, err := corpusSchemas(corpus)
	if err != nil {
		return err
	}
	r.SchemaVersions = len(versions)
	want, err := corpusRecords(corpus)
	if err != nil {
		return err
	}
	r.CorpusEncodings = len(want)
	decodes, err := history.Decodes(dir)
	if err != nil {
		return err
	}
	undecoded := 0
	for _, d := range decodes {
		what := fmt.Sprintf("%s, line %d by %s", d.Schema, d.Line, d.By)
		key := d.By + ":" + strconv.Itoa(d.Line)
		if payload, ok := want[key]; !ok || payload != string(d.Payload) {
			return fmt.Errorf("%s: it is not in the corpus, or twice in the history", what)
		}
		delete(want, key)
		if d.Err != "" {
			r.broke(&undecoded, "decoded", "%s: %s", what, d.Err)
			continue
		}
		r.Decoded++
		name, number := splitVersion(d.Schema)
		expected, err := read(versions[d.Schema], d.Payload)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if expected, err = newestOf(name, number, newest[name], expected, d.At); err != nil {
			return err
		}
		got, err := read(versions[name+"."+strconv.Itoa(newest[name])], d.Newest)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !reflect.DeepEqual(got, expected) {
			r.broke(&r.Disagreements, "cross_library_disagreements", "%s: it was read as %v, want %v", what, got, expected)
		}
		r.judgeDamage(what, d)
	}
	for key := range want {
		r.broke(&undecoded, "decoded", "%s was not read", key)
	}
	return nil
}

func (r *evolutionReport) judgeDamage(what string, d history.Decode) {
	damage := d.Damage
	size := len(d.Payload) + 5
	if damage.Size != size || damage.Cuts != size || damage.Flips != len(d.Payload) || damage.Leftover == 0 {
		r.broken = append(r.broken, fmt.Sprintf("law floor is broken: %s was damaged as %+v, of %d bytes", what, damage, size))
	}
	r.Truncations += damage.Cuts
	r.Flips += damage.Flips
	for _, at := range damage.CutsRead {
		r.broke(&r.TruncationsAccepted, "truncations_accepted", "%s, cut at %d", what, at)
	}
	for _, n := range damage.LeftoverRead {
		r.broke(&r.LeftoverAccepted, "leftover_bytes_accepted", "%s, %d bytes left over", what, n)
	}
	for _, at := range damage.FlipsPanicked {
		r.broke(&r.FlipPanics, "flip_panics", "%s, byte %d changed", what, at)
	}
	if limit := int64(16*size + fixedAllocation); damage.Allocated > limit {
		r.broke(&r.AllocationOver16x, "allocation_over_16x", "%s: %d bytes for one of %d", what, damage.Allocated, size)
	}
}

// newestOf makes of a value of a version what the newest says of it. What has changed is the checker's own
// knowledge: a type with versions that it does not know is an error.
func newestOf(name, number string, newest int, value map[string]any, at int64) (map[string]any, error) {
	switch {
	case number == strconv.Itoa(newest):
		return value, nil
	case name == "ledgerline.order.OrderPlaced" && newest == 3:
		value = maps.Clone(value)
		value["total_amount"] = value["amount"]
		delete(value, "amount")
		if number == "1" {
			value["discount"] = nil
		}
		value["placed_at"] = time.UnixMilli(at).UTC()
		return value, nil
	}
	return nil, fmt.Errorf("the checker does not know what became of version %s of %s: teach newestOf", number, name)
}

func read(schema avro.Schema, payload []byte) (value map[string]any, err error) {
	if schema == nil {
		return nil, errors.New("there is no such schema")
	}
	if err := avro.Unmarshal(schema, payload, &value); err != nil {
		return nil, fmt.Errorf("the oracle: %w", err)
	}
	return value, nil
}

// corpusSchemas reads the schemas of the corpus, and the newest version of each name.
func corpusSchemas(dir string) (versions map[string]avro.Schema, newest map[string]int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.avsc"))
	if err != nil {
		return nil, nil, fmt.Errorf("looking for schemas: %w", err)
	}
	versions, newest = map[string]avro.Schema{}, map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the corpus: %w", err)
		}
		version := strings.TrimSuffix(filepath.Base(file), ".avsc")
		if versions[version], err = avro.ParseBytesWithCache(text, "", &avro.SchemaCache{}); err != nil {
			return nil, nil, fmt.Errorf("schema %s: %w", version, err)
		}
		name, number := splitVersion(version)
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, nil, fmt.Errorf("schema %s: %w", version, err)
		}
		newest[name] = max(newest[name], n)
	}
	return versions, newest, nil
}

// splitVersion splits "ledgerline.order.OrderPlaced.1" into the full name and the version.
func splitVersion(text string) (name, number string) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i+1:]
}

// corpusRecords reads the records of the corpus by library and line.
func corpusRecords(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.hex"))
	if err != nil {
		return nil, fmt.Errorf("looking for records: %w", err)
	}
	records := map[string]string{}
	for _, file := range files {
		err := eachLine(file, func(line int, text string) error {
			payload, err := hex.DecodeString(text)
			records[strings.TrimSuffix(filepath.Base(file), ".hex")+":"+strconv.Itoa(line)] = string(payload)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return records, nil
}

func eachLine(file string, do func(line int, text string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	defer func() { _ = f.Close() }()
	line := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		line++
		if err := do(line, s.Text()); err != nil {
			return fmt.Errorf("%s:%d: %w", file, line, err)
		}
	}
	return nil
}

// judgeChanges wants every change of the list to be refused or taken as the list says.
func (r *evolutionReport) judgeChanges(root, dir string) error {
	found, err := history.Changes(dir)
	if err != nil {
		return err
	}
	said := map[int]string{}
	for _, c := range found {
		said[c.Line] = c.Said
	}
	missed := 0
	return eachLine(filepath.Join(root, "schemas", "testdata", "changes.jsonl"), func(line int, text string) error {
		var change struct{ Change, Refused string }
		if err := json.Unmarshal([]byte(text), &change); err != nil {
			return err
		}
		verdict, judged := said[line]
		if !judged {
			return errors.New("it was not judged")
		}
		switch {
		case change.Refused == "" && verdict == "":
			r.CompatibleChanges++
		case change.Refused == "":
			r.CompatibleChanges++
			r.broke(&r.CompatibleRefused, "compatible_refused", "%s: %s", change.Change, verdict)
		case strings.Contains(verdict, change.Refused):
			r.IncompatibleChanges++
			r.IncompatibleCaught++
		default:
			r.IncompatibleChanges++
			r.broke(&missed, "incompatible_caught", "%s: the product said %q, want a word of %q", change.Change, verdict, change.Refused)
		}
		return nil
	})
}

// judgeGate wants the schemas to be those of the corpus.
func (r *evolutionReport) judgeGate(dir string) error {
	gates, err := history.Gates(dir)
	if err != nil {
		return err
	}
	if len(gates) != 1 {
		return fmt.Errorf("the product compared its schemas with the corpus %d times, want once", len(gates))
	}
	for _, wrong := range gates[0].Wrong {
		r.broke(&r.DifferencesOfTheGate, "corpus_differences", "%s", wrong)
	}
	return nil
}
