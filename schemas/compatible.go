package schemas

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"
)

// Compatible returns nil if newer may follow older, the earlier schemas of a subject: newer reads
// whatever any of them wrote (BACKWARD_TRANSITIVE), under our own rules too: the record keeps its full
// name, every enum has a default, and no field changes its unit of time. The error names the field.
func Compatible(newer string, older ...string) error {
	reader, err := Parse(newer)
	if err != nil {
		return fmt.Errorf("checking the newer schema: %w", err)
	}
	if path := enumWithoutDefault(reader.root, "", map[*node]bool{}); path != "" {
		return fmt.Errorf("checking schema of %s: field %s: an enum needs a default, for readers that do not know a later symbol", reader.FullName(), path)
	}
	for i, text := range older {
		writer, err := Parse(text)
		if err != nil {
			return fmt.Errorf("checking older schema %d of %d of %s: %w", i+1, len(older), reader.FullName(), err)
		}
		if writer.FullName() != reader.FullName() {
			return fmt.Errorf("checking schema of %s: older schema %d of %d is called %s", reader.FullName(), i+1, len(older), writer.FullName())
		}
		if _, err := resolve(writer, reader); err != nil {
			return fmt.Errorf("checking schema of %s against older schema %d of %d: %w", reader.FullName(), i+1, len(older), err)
		}
	}
	return nil
}

// resolve returns a schema that reads what writer wrote as reader has it.
func resolve(writer, reader *Schema) (*avro.Schema, error) {
	resolved, err := avro.Resolve(writer.avro, reader.avro)
	if err != nil {
		return nil, err
	}
	// Avro would read microseconds as milliseconds without a word: it resolves the long beneath.
	if path := otherUnit(writer.root, reader.root, "", map[[2]*node]bool{}); path != "" {
		return nil, fmt.Errorf("field %s: the unit of time has changed", path)
	}
	return resolved, nil
}

// otherUnit returns the path of a field whose unit of time differs, "" if there is none. Where only one
// side states a unit, there is nothing to compare: tools that drop logical types keep the number.
func otherUnit(writer, reader *node, path string, seen map[[2]*node]bool) string {
	if seen[[2]*node{writer, reader}] {
		return ""
	}
	seen[[2]*node{writer, reader}] = true
	switch {
	case writer.kind == kindUnion:
		for _, branch := range writer.branches {
			if found := otherUnit(branch, reader, path, seen); found != "" {
				return found
			}
		}
	case reader.kind == kindUnion:
		for _, branch := range reader.branches {
			if branch.kind == writer.kind && (branch.name == writer.name || reader.value != nil) {
				return otherUnit(writer, branch, path, seen)
			}
		}
	case writer.kind == kindRecord && reader.kind == kindRecord:
		for _, to := range reader.fields {
			from := slices.IndexFunc(writer.fields, func(f field) bool { return f.name == to.name })
			for i := 0; from < 0 && i < len(to.aliases); i++ {
				from = slices.IndexFunc(writer.fields, func(f field) bool { return f.name == to.aliases[i] })
			}
			if from < 0 {
				continue
			}
			if found := otherUnit(writer.fields[from].node, to.node, join(path, to.name), seen); found != "" {
				return found
			}
		}
	case writer.items != nil && reader.items != nil:
		return otherUnit(writer.items, reader.items, path+"[]", seen)
	case isTime(writer.logical) && isTime(reader.logical) && writer.logical != reader.logical:
		return path
	}
	return ""
}

func isTime(logical string) bool {
	return logical == "date" || strings.Contains(logical, "time")
}

// enumWithoutDefault returns the path of an enum without a default, "" if there is none.
func enumWithoutDefault(n *node, path string, seen map[*node]bool) string {
	if n == nil || seen[n] {
		return ""
	}
	seen[n] = true
	if n.kind == kindEnum && !n.hasDefault {
		return path
	}
	for _, f := range n.fields {
		if found := enumWithoutDefault(f.node, join(path, f.name), seen); found != "" {
			return found
		}
	}
	for _, branch := range n.branches {
		if found := enumWithoutDefault(branch, path, seen); found != "" {
			return found
		}
	}
	return enumWithoutDefault(n.items, path+"[]", seen)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
