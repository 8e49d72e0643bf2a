package schemas

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/twmb/avro"
)

// FS holds the .avsc files: those of an aggregate in a folder of its name, Outcome.avsc at the root.
//
//go:embed *.avsc */*.avsc
var FS embed.FS

// Schema is a parsed Avro record schema. It does not change and is safe for concurrent use.
type Schema struct {
	text string
	avro *avro.Schema
	root *node
	// noJSON says why FromJSON cannot serve the schema; nil if it can.
	noJSON  error
	hasMaps bool
	// aliases are the record's other full names.
	aliases []string
}

// Parse reads an Avro schema, which must be a record and must not need another file.
func Parse(text string) (*Schema, error) {
	parsed, err := avro.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	c := compiler{named: map[string]*node{}}
	tree := parsed.Root()
	root, err := c.compile(tree, "")
	if err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	if root.kind != kindRecord {
		return nil, fmt.Errorf("parsing schema: want a record, got %s", root.kind)
	}
	return &Schema{text: text, avro: parsed, root: root, noJSON: c.noJSON, hasMaps: c.hasMaps, aliases: root.aliases}, nil
}

// FullName returns the record's name with its namespace, "ledgerline.order.OrderPlaced".
func (s *Schema) FullName() string { return s.root.name }

// Name returns the record's simple name, "OrderPlaced".
func (s *Schema) Name() string { return simpleName(s.root.name) }

// Text returns the schema as it was given to Parse.
func (s *Schema) Text() string { return s.text }

// Load parses every .avsc file in dir, not in its subfolders, and returns the schemas by simple name, the
// versions of each oldest first. A file must be called after the record that it holds: OrderPlaced.avsc, and
// its earlier versions OrderPlaced.1.avsc, OrderPlaced.2.avsc and so on.
func Load(fsys fs.FS, dir string) (map[string][]*Schema, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("loading schemas of %s: %w", dir, err)
	}
	loaded := map[string]map[int]*Schema{} // the newest as 0
	for _, entry := range entries {
		if entry.IsDir() || path.Ext(entry.Name()) != ".avsc" {
			continue
		}
		file := path.Join(dir, entry.Name())
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("loading schema %s: %w", file, err)
		}
		s, err := Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("loading schema %s: %w", file, err)
		}
		name, number, older := strings.Cut(strings.TrimSuffix(entry.Name(), ".avsc"), ".")
		version := 0
		if older {
			if version, err = strconv.Atoi(number); err != nil || version < 1 {
				return nil, fmt.Errorf("loading schema %s: call the file %s.avsc, or %s.1.avsc and so on for an earlier version", file, s.Name(), s.Name())
			}
		}
		if name != s.Name() {
			return nil, fmt.Errorf("loading schema %s: it holds record %s: call the file %s.avsc", file, s.FullName(), s.Name())
		}
		if loaded[name] == nil {
			loaded[name] = map[int]*Schema{}
		}
		loaded[name][version] = s
	}
	versions := map[string][]*Schema{}
	for name, found := range loaded {
		for i := 1; i < len(found); i++ {
			if found[i] == nil {
				return nil, fmt.Errorf("loading schemas of %s: there is no %s.%d.avsc", dir, name, i)
			}
			versions[name] = append(versions[name], found[i])
		}
		if found[0] == nil {
			return nil, fmt.Errorf("loading schemas of %s: there is no %s.avsc, the newest version", dir, name)
		}
		versions[name] = append(versions[name], found[0])
	}
	return versions, nil
}

// Subject returns the registry's name for the schemas of a record type in a topic: topic, '-', the
// record's full name (TopicRecordNameStrategy).
func Subject(topic, fullName string) string { return topic + "-" + fullName }

func simpleName(fullName string) string { return fullName[strings.LastIndexByte(fullName, '.')+1:] }
