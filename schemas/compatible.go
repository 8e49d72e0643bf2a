package schemas

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"
)

// Compatible returns nil if newer may follow older, the earlier schemas of a subject: newer reads
// whatever any of them wrote (BACKWARD_TRANSITIVE), and means the same by it. Avro alone lets a reader take
// microseconds for milliseconds, a symbol that is gone for the enum's default, and a renamed field whose alias
// was dropped for its default. So by our own rules the record keeps its full name, every enum has a default and
// keeps its symbols, aliases and defaults stay, and a field keeps its logical type and does not become a float.
// The error names the field, what is wrong and what to do.
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
		if wrong := pairs(writer.root, reader.root, changedMeaning); wrong != "" {
			return fmt.Errorf("checking schema of %s against older schema %d of %d: %s", reader.FullName(), i+1, len(older), wrong)
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
	if wrong := pairs(writer.root, reader.root, otherUnit); wrong != "" {
		return nil, errors.New(wrong)
	}
	return resolved, nil
}

// pairs calls visit with every type of writer that is read as one of reader, and its field's path. It returns
// the first answer that is not "".
func pairs(writer, reader *node, visit func(path string, writer, reader *node) string) string {
	seen := map[[2]*node]bool{}
	var walk func(path string, writer, reader *node) string
	walk = func(path string, writer, reader *node) string {
		if seen[[2]*node{writer, reader}] {
			return ""
		}
		seen[[2]*node{writer, reader}] = true
		if found := visit(path, writer, reader); found != "" {
			return found
		}
		switch {
		case writer.kind == kindUnion:
			for _, branch := range writer.branches {
				if found := walk(path, branch, reader); found != "" {
					return found
				}
			}
		case reader.kind == kindUnion:
			if branch := reader.branchFor(writer); branch != nil {
				return walk(path, writer, branch)
			}
		case writer.kind == kindRecord && reader.kind == kindRecord:
			for _, to := range reader.fields {
				if from := writer.fieldFor(to); from != nil {
					if found := walk(join(path, to.name), from.node, to.node); found != "" {
						return found
					}
				}
			}
		case writer.items != nil && reader.items != nil:
			return walk(path+"[]", writer.items, reader.items)
		}
		return ""
	}
	return walk("", writer, reader)
}

// branchFor returns the branch of a union as which a type is read, nil if there is none.
func (n *node) branchFor(writer *node) *node {
	for _, branch := range n.branches {
		if branch.kind == writer.kind && (branch.name == writer.name || n.value != nil) {
			return branch
		}
	}
	if writer.kind == kindNull {
		return nil
	}
	return n.value
}

// fieldFor returns the field of a writer's record that is read as to, nil if there is none.
func (n *node) fieldFor(to field) *field {
	for i := range n.fields {
		if n.fields[i].name == to.name {
			return &n.fields[i]
		}
	}
	for _, alias := range to.aliases {
		for i := range n.fields {
			if n.fields[i].name == alias {
				return &n.fields[i]
			}
		}
	}
	return nil
}

// otherUnit says which field's unit of time differs, "" if none. Where only one side states a unit, there is
// nothing to compare: tools that drop logical types keep the number.
func otherUnit(path string, writer, reader *node) string {
	if isTime(writer.logical) && isTime(reader.logical) && writer.logical != reader.logical {
		return fmt.Sprintf("field %s: the unit of time has changed; %s", path, newName)
	}
	return ""
}

func isTime(logical string) bool {
	return logical == "date" || strings.Contains(logical, "time")
}

// newName is what to do about a field that means something else now.
const newName = "give the field a new name, and its earlier versions an upcaster"

// changedMeaning says what a reader would take for something else than the writer meant, "" if nothing.
func changedMeaning(path string, writer, reader *node) string {
	switch {
	case writer.kind == kindUnion || reader.kind == kindUnion:
	case writer.logical != reader.logical || writer.scale != reader.scale:
		return fmt.Sprintf("field %s: it was %s and is %s; %s", path, writer.meaning(), reader.meaning(), newName)
	case isWhole(writer.kind) && isFloat(reader.kind):
		return fmt.Sprintf("field %s: a whole number would become a float, which does not hold them all; %s", path, newName)
	case writer.kind != reader.kind && (writer.kind == kindBytes || reader.kind == kindBytes):
		return fmt.Sprintf("field %s: %s would become %s; %s", path, writer.kind, reader.kind, newName)
	case writer.kind == kindEnum && reader.kind == kindEnum:
		for _, symbol := range writer.symbols {
			if !slices.Contains(reader.symbols, symbol) {
				return fmt.Sprintf("field %s: symbol %s is gone, its events would be read as the default: keep it", path, symbol)
			}
		}
	case writer.kind == kindRecord && reader.kind == kindRecord:
		return changedFields(path, writer, reader)
	}
	return ""
}

// changedFields says what changedMeaning wants to know of a record's fields, other than of their types.
func changedFields(path string, writer, reader *node) string {
	for _, alias := range writer.aliases {
		if alias != reader.name && !slices.Contains(reader.aliases, alias) {
			return fmt.Sprintf("%s: alias %s is gone: put it back, events of that name are in the log", cmp.Or(path, reader.name), alias)
		}
	}
	for _, from := range writer.fields {
		i := slices.IndexFunc(reader.fields, func(to field) bool { return writer.fieldFor(to) != nil && writer.fieldFor(to).name == from.name })
		for _, alias := range from.aliases {
			if i >= 0 && reader.fields[i].name != alias && !slices.Contains(reader.fields[i].aliases, alias) {
				return fmt.Sprintf("field %s: alias %s is gone: put it back, events with that field are in the log", join(path, reader.fields[i].name), alias)
			}
		}
		if i >= 0 && from.def != nil && reader.fields[i].def != nil && from.node.kind == reader.fields[i].node.kind && !bytes.Equal(from.def, reader.fields[i].def) {
			return fmt.Sprintf("field %s: another default would change what events without the field say: keep the old one", join(path, reader.fields[i].name))
		}
	}
	return ""
}

func isWhole(kind string) bool { return kind == kindInt || kind == kindLong }

func isFloat(kind string) bool { return kind == kindFloat || kind == kindDouble }

// meaning writes what a type stands for, "timestamp-millis", or "a plain long".
func (n *node) meaning() string {
	switch n.logical {
	case "":
		return "a plain " + n.kind
	case "decimal":
		return fmt.Sprintf("decimal of scale %d", n.scale)
	}
	return n.logical
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
