package schemas

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/twmb/avro"
)

// The kinds of node, as Avro names them.
const (
	kindNull    = "null"
	kindBoolean = "boolean"
	kindInt     = "int"
	kindLong    = "long"
	kindFloat   = "float"
	kindDouble  = "double"
	kindBytes   = "bytes"
	kindString  = "string"
	kindRecord  = "record"
	kindEnum    = "enum"
	kindArray   = "array"
	kindMap     = "map"
	kindFixed   = "fixed"
	kindUnion   = "union"
)

// node is one type of a schema, with references replaced by what they name: a recursive schema is a
// graph with cycles.
type node struct {
	kind    string
	logical string
	scale   int // of a decimal
	// name and aliases are full names, of a record, enum or fixed.
	name    string
	aliases []string
	doc     string
	fields  []field
	index   map[string]int // field name → place in fields
	items   *node          // of an array, and the values of a map
	// branches are a union's. value is the other branch of a union of null and one type, else nil.
	branches   []*node
	value      *node
	nullIndex  int
	symbols    []string
	hasDefault bool // of an enum
	size       int  // of a fixed
}

// field is a record's field.
type field struct {
	name    string
	aliases []string
	doc     string
	node    *node
	// def is the default in Avro binary; nil if there is none.
	def []byte
}

// compiler turns the library's tree into nodes.
type compiler struct {
	named   map[string]*node
	noJSON  error
	hasMaps bool
}

func (c *compiler) compile(t *avro.SchemaNode, namespace string) (*node, error) {
	n := &node{kind: t.Type, logical: t.LogicalType, scale: t.Scale}
	switch t.Type {
	case kindNull, kindBoolean, kindInt, kindLong, kindFloat, kindDouble, kindBytes, kindString:
		return n, nil
	case kindArray:
		return n, c.child(&n.items, t.Items, namespace)
	case kindMap:
		c.hasMaps = true
		return n, c.child(&n.items, t.Values, namespace)
	case kindUnion:
		return n, c.union(n, t, namespace)
	case "error":
		n.kind = kindRecord
	case kindRecord, kindEnum, kindFixed:
	default:
		known := cmp.Or(c.named[qualify(namespace, t.Type)], c.named[t.Type])
		if known == nil {
			return nil, fmt.Errorf("type %s is not defined", t.Type)
		}
		return known, nil
	}
	n.name, n.doc = qualify(t.Namespace, t.Name), t.Doc
	n.symbols, n.hasDefault, n.size = t.Symbols, t.HasEnumDefault, t.Size
	namespace = strings.TrimSuffix(strings.TrimSuffix(n.name, simpleName(n.name)), ".")
	for _, alias := range t.Aliases {
		n.aliases = append(n.aliases, qualify(namespace, alias))
	}
	c.named[n.name] = n
	return n, c.fields(n, t, namespace)
}

func (c *compiler) child(to **node, t *avro.SchemaNode, namespace string) (err error) {
	*to, err = c.compile(t, namespace)
	return err
}

func (c *compiler) union(n *node, t *avro.SchemaNode, namespace string) error {
	for i := range t.Branches {
		branch, err := c.compile(&t.Branches[i], namespace)
		if err != nil {
			return err
		}
		n.branches = append(n.branches, branch)
	}
	if len(n.branches) == 2 {
		switch {
		case n.branches[0].kind == kindNull:
			n.value = n.branches[1]
		case n.branches[1].kind == kindNull:
			n.value, n.nullIndex = n.branches[0], 1
		}
	}
	if n.value == nil {
		c.noJSON = fmt.Errorf("a union other than of null and one type has no plain JSON form")
	}
	return nil
}

func (c *compiler) fields(n *node, t *avro.SchemaNode, namespace string) error {
	n.index = make(map[string]int, len(t.Fields))
	n.fields = make([]field, len(t.Fields))
	for i := range t.Fields {
		from, to := &t.Fields[i], &n.fields[i]
		to.name, to.aliases, to.doc = from.Name, from.Aliases, from.Doc
		n.index[from.Name] = i
		if err := c.child(&to.node, &from.Type, namespace); err != nil {
			return fmt.Errorf("field %s of %s: %w", from.Name, n.name, err)
		}
		if !from.HasDefault {
			continue
		}
		typ, err := from.Type.Schema()
		if err == nil {
			to.def, err = typ.AppendEncode([]byte{}, from.Default)
		}
		if err != nil {
			return fmt.Errorf("default of field %s of %s: %w", from.Name, n.name, err)
		}
	}
	return nil
}

// qualify returns the full name of a name that stands in a namespace.
func qualify(namespace, name string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}
