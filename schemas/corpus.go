package schemas

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Corpus is every schema that was ever released, and records of them as several implementations of Avro have
// encoded them. Its files are added to and never changed: what they hold is in somebody's log.
type Corpus struct {
	// Versions are the texts by full name, oldest first.
	Versions map[string][]string
	// Encodings are the records, in the order of values.jsonl.
	Encodings []Encoding
}

// Encoding is one record.
type Encoding struct {
	// FullName and Version, from 1, are of the schema that it was written with.
	FullName string
	Version  int
	// Payloads are its bytes, without a frame, by the implementation that wrote them.
	Payloads map[string][]byte
}

// ReadCorpus reads a folder of
//
//	ledgerline.order.OrderPlaced.1.avsc  the schemas, by full name and version
//	values.jsonl                         a line for each record, {"schema":"ledgerline.order.OrderPlaced.1", …}
//	hamba.hex                            what an implementation makes of those records, line by line
//
// An implementation may know the first records only.
func ReadCorpus(dir fs.FS) (*Corpus, error) {
	c := &Corpus{Versions: map[string][]string{}}
	files, err := fs.Glob(dir, "*.avsc")
	if err != nil {
		return nil, fmt.Errorf("reading the corpus: %w", err)
	}
	byNumber := map[string]map[int]string{}
	for _, file := range files {
		text, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, fmt.Errorf("reading the corpus: %w", err)
		}
		name, version, err := versionOfName(strings.TrimSuffix(file, ".avsc"))
		if err != nil {
			return nil, fmt.Errorf("reading the corpus: %s: %w", file, err)
		}
		s, err := Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("reading the corpus: %s: %w", file, err)
		}
		if s.FullName() != name {
			return nil, fmt.Errorf("reading the corpus: %s holds record %s", file, s.FullName())
		}
		if byNumber[name] == nil {
			byNumber[name] = map[int]string{}
		}
		byNumber[name][version] = string(text)
	}
	for name, texts := range byNumber {
		for n := 1; n <= len(texts); n++ {
			if texts[n] == "" {
				return nil, fmt.Errorf("reading the corpus: there is no %s.%d.avsc", name, n)
			}
			c.Versions[name] = append(c.Versions[name], texts[n])
		}
	}
	return c, c.readEncodings(dir)
}

func (c *Corpus) readEncodings(dir fs.FS) error {
	lines, err := linesOf(dir, "values.jsonl")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, line := range lines {
		var of struct{ Schema string }
		if err := json.Unmarshal(line, &of); err != nil {
			return fmt.Errorf("reading the corpus: values.jsonl:%d: %w", i+1, err)
		}
		name, version, err := versionOfName(of.Schema)
		if err != nil || version > len(c.Versions[name]) {
			return fmt.Errorf("reading the corpus: values.jsonl:%d: there is no %s.avsc", i+1, of.Schema)
		}
		c.Encodings = append(c.Encodings, Encoding{FullName: name, Version: version, Payloads: map[string][]byte{}})
	}
	files, err := fs.Glob(dir, "*.hex")
	if err != nil {
		return fmt.Errorf("reading the corpus: %w", err)
	}
	for _, file := range files {
		lines, err := linesOf(dir, file)
		if err != nil {
			return err
		}
		if len(lines) > len(c.Encodings) {
			return fmt.Errorf("reading the corpus: %s has %d records, values.jsonl %d", file, len(lines), len(c.Encodings))
		}
		for i, line := range lines {
			payload, err := hex.DecodeString(string(line))
			if err != nil {
				return fmt.Errorf("reading the corpus: %s:%d: %w", file, i+1, err)
			}
			c.Encodings[i].Payloads[strings.TrimSuffix(file, path.Ext(file))] = payload
		}
	}
	return nil
}

func linesOf(dir fs.FS, file string) ([][]byte, error) {
	text, err := fs.ReadFile(dir, file)
	if err != nil {
		return nil, fmt.Errorf("reading the corpus: %w", err)
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")), nil
}

// versionOfName splits "ledgerline.order.OrderPlaced.1".
func versionOfName(text string) (name string, version int, err error) {
	dot := strings.LastIndexByte(text, '.')
	if version, err = strconv.Atoi(text[dot+1:]); dot < 0 || err != nil || version < 1 {
		return "", 0, fmt.Errorf("want a full name, a dot and a version from 1, got %q", text)
	}
	return text[:dot], version, nil
}

// Check reads the corpus as the bound types do. It returns what is wrong: a schema that may not follow those of
// the corpus or is not in it, one of the corpus that is no longer bound, a record that cannot be read, and one
// that two implementations' bytes make different values of.
func (c *Corpus) Check(ctx context.Context, bindings ...Binding) (wrong []error) {
	bound := map[string]bool{}
	for _, b := range bindings {
		name := b.Schema.FullName()
		bound[name] = true
		for _, alias := range b.Schema.aliases {
			bound[alias] = true
		}
		versions := c.Versions[name]
		if err := Compatible(b.Schema.Text(), versions...); err != nil {
			wrong = append(wrong, err)
		}
		if !slices.ContainsFunc(versions, func(text string) bool { return sameButDocs(text, b.Schema.Text()) }) {
			wrong = append(wrong, fmt.Errorf("%s is not in the corpus: add it as %s.%d.avsc before it is released", name, name, len(versions)+1))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Versions)) {
		if !bound[name] {
			wrong = append(wrong, fmt.Errorf("%s is in the corpus and nothing reads it any more: keep its Go type, or make its name an alias of the type that reads it", name))
		}
	}
	codec, err := NewCodec(c.Registry(), bindings...)
	if err != nil {
		return append(wrong, err)
	}
	for i, e := range c.Encodings {
		if bound[e.FullName] {
			wrong = append(wrong, c.checkEncoding(ctx, codec, i+1, e)...)
		}
	}
	return wrong
}

func (c *Corpus) checkEncoding(ctx context.Context, codec *Codec, line int, e Encoding) (wrong []error) {
	var first any
	firstBy := ""
	for _, by := range slices.Sorted(maps.Keys(e.Payloads)) {
		decoded, err := codec.Decode(ctx, c.Frame(e, by), time.Time{})
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%s.hex:%d: %w", by, line, err))
		case firstBy == "":
			first, firstBy = decoded.Value, by
		case !reflect.DeepEqual(decoded.Value, first):
			wrong = append(wrong, fmt.Errorf("%s.hex:%d: it is read as %+v, that of %s as %+v", by, line, decoded.Value, firstBy, first))
		}
	}
	return wrong
}

// texts are all schemas, in the order of their full names and versions.
func (c *Corpus) texts() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Versions)) {
		all = append(all, c.Versions[name]...)
	}
	return all
}

// Frame returns a record as it is in a topic, if the registry is [Corpus.Registry].
func (c *Corpus) Frame(e Encoding, by string) []byte {
	id := slices.Index(c.texts(), c.Versions[e.FullName][e.Version-1])
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), e.Payloads[by]...)
}

// Registry has the schemas of the corpus under the ids that Frame uses.
func (c *Corpus) Registry() Registry { return corpusRegistry(c.texts()) }

// corpusRegistry has schemas by their place.
type corpusRegistry []string

func (r corpusRegistry) SchemaByID(_ context.Context, id int) (string, error) {
	if id >= len(r) {
		return "", fmt.Errorf("%w: id %d", ErrNotRegistered, id)
	}
	return r[id], nil
}

func (r corpusRegistry) SchemaID(_ context.Context, _, text string) (int, error) {
	if id := slices.Index(r, text); id >= 0 {
		return id, nil
	}
	return 0, ErrNotRegistered
}

// sameButDocs reports whether two schemas differ in nothing but their words.
func sameButDocs(a, b string) bool {
	var trees [2]any
	if json.Unmarshal([]byte(a), &trees[0]) != nil || json.Unmarshal([]byte(b), &trees[1]) != nil {
		return false
	}
	for _, tree := range trees {
		dropDocs(tree)
	}
	return reflect.DeepEqual(trees[0], trees[1])
}

func dropDocs(tree any) {
	switch t := tree.(type) {
	case map[string]any:
		delete(t, "doc")
		for _, child := range t {
			dropDocs(child)
		}
	case []any:
		for _, child := range t {
			dropDocs(child)
		}
	}
}
