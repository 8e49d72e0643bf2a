// Command evolution is the part of the proof of evolution that needs no services: it has the product read every
// record of the corpus, whole and damaged in many ways, and judge every change of the list of changes to
// schemas.
//
//	go run ./evolution --root REPOSITORY --dir FOLDER --seed N
//
// It writes down what the product did, in the form of package history, and judges nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/schemas"
)

func main() {
	root := flag.String("root", ".", "the repository")
	dir := flag.String("dir", "", "folder of the run (required)")
	seed := flag.Uint64("seed", rand.Uint64(), "what chance begins with")
	flag.Parse()
	if err := run(context.Background(), *root, *dir, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "evolution:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, dir string, seed uint64) error {
	hist, err := history.Create(dir, history.Run{Kind: "evolution", Seed: seed, Again: fmt.Sprintf("SEED=%d prove/run evolution decode", seed)})
	if err != nil {
		return err
	}
	data := filepath.Join(root, "schemas", "testdata")
	d := &decoding{hist: hist, rng: rand.New(rand.NewPCG(seed, 0))}
	if err = d.corpus(ctx, filepath.Join(data, "corpus")); err == nil {
		err = changes(hist, filepath.Join(data, "changes.jsonl"))
	}
	if err != nil {
		_ = hist.Abandon()
		return err
	}
	return hist.Close()
}

// decoding has the product read the corpus.
type decoding struct {
	hist   *history.Writer
	rng    *rand.Rand
	codec  *schemas.Codec
	newest map[string]avro.Schema
}

func (d *decoding) corpus(ctx context.Context, dir string) error {
	bindings, err := processing.Bindings(schemas.FS, []*processing.Aggregate{account.Decider.Erase(), order.Decider.Erase(), payment.Decider.Erase()})
	if err != nil {
		return err
	}
	corpus, err := schemas.ReadCorpus(os.DirFS(dir))
	if err != nil {
		return err
	}
	gate := history.Gate{Wrong: []string{}}
	for _, wrong := range corpus.Check(ctx, bindings...) {
		gate.Wrong = append(gate.Wrong, wrong.Error())
	}
	d.hist.Gate(gate)
	if d.codec, err = schemas.NewCodec(corpus.Registry(), bindings...); err != nil {
		return err
	}
	d.newest = map[string]avro.Schema{}
	for _, b := range bindings {
		if d.newest[b.Schema.FullName()], err = avro.ParseWithCache(b.Schema.Text(), "", &avro.SchemaCache{}); err != nil {
			return fmt.Errorf("schema of %s: %w", b.Schema.FullName(), err)
		}
	}
	for i, e := range corpus.Encodings {
		for by := range e.Payloads {
			if err := d.record(ctx, corpus, i+1, e, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// record has one record read, whole and damaged.
func (d *decoding) record(ctx context.Context, corpus *schemas.Corpus, line int, e schemas.Encoding, by string) error {
	at := time.UnixMilli(1e12 + d.rng.Int64N(1e12)).UTC()
	found := history.Decode{
		Schema: e.FullName + "." + strconv.Itoa(e.Version), Line: line, By: by, At: at.UnixMilli(), Payload: e.Payloads[by],
	}
	framed := corpus.Frame(e, by)
	decoded, err := d.codec.Decode(ctx, framed, at)
	if err != nil {
		found.Err = err.Error()
	} else if found.Newest, err = avro.Marshal(d.newest[decoded.FullName], decoded.Value); err != nil {
		return fmt.Errorf("line %d, writing %s as %s has it: %w", line, reflect.TypeOf(decoded.Value), decoded.FullName, err)
	}
	found.Damage = d.damage(ctx, framed, len(framed)-len(found.Payload))
	d.hist.Decode(found)
	return nil
}

func (d *decoding) damage(ctx context.Context, framed []byte, frame int) (found history.Damage) {
	read := func(data []byte) error {
		_, err := d.codec.Decode(ctx, data, time.Time{})
		return err
	}
	found = history.Damage{Size: len(framed), CutsRead: []int{}, LeftoverRead: []int{}, FlipsPanicked: []int{}}
	for cut := range framed {
		if found.Cuts++; read(framed[:cut]) == nil {
			found.CutsRead = append(found.CutsRead, cut)
		}
	}
	for more := 1; more <= 16; more++ {
		data := bytes.Clone(framed)
		for range more {
			data = append(data, byte(d.rng.Uint32()))
		}
		if found.Leftover++; read(data) == nil {
			found.LeftoverRead = append(found.LeftoverRead, more)
		}
	}
	var before, after runtime.MemStats
	for at := frame; at < len(framed); at++ {
		data := bytes.Clone(framed)
		data[at] ^= byte(1 + d.rng.Uint32N(255))
		runtime.ReadMemStats(&before)
		err := read(data)
		runtime.ReadMemStats(&after)
		found.Flips++
		found.Allocated = max(found.Allocated, int64(after.TotalAlloc-before.TotalAlloc))
		if err != nil && strings.Contains(err.Error(), "panicked") {
			found.FlipsPanicked = append(found.FlipsPanicked, at)
		}
	}
	return found
}

// changes has the product judge every change of the list.
func changes(hist *history.Writer, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the list of changes: %w", err)
	}
	line := 0
	for row := range bytes.Lines(text) {
		line++
		var change struct {
			Older []json.RawMessage
			Newer json.RawMessage
		}
		if err := json.Unmarshal(row, &change); err != nil {
			return fmt.Errorf("%s:%d: %w", file, line, err)
		}
		var older []string
		for _, fields := range change.Older {
			older = append(older, schemaOf(fields))
		}
		found := history.Change{Line: line}
		if err := schemas.Compatible(schemaOf(change.Newer), older...); err != nil {
			found.Said = err.Error()
		}
		hist.Change(found)
	}
	return nil
}

// schemaOf returns the schema of a record with these fields, unless it is one already.
func schemaOf(text json.RawMessage) string {
	if text[0] == '[' {
		return `{"type":"record","name":"R","namespace":"ledgerline.order","fields":` + string(text) + `}`
	}
	return string(text)
}
