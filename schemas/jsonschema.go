package schemas

import (
	"encoding/base64"
	"fmt"
)

// JSONSchema describes the JSON that FromJSON reads and ToJSON writes, as JSON Schema (draft 2020-12):
// an object by full name for the record, and for each record and enum in it. They refer to each other
// by prefix and full name, so prefix is where the caller puts them, "#/components/schemas/". A doc
// becomes a description, a field without a default is required. Of a timestamp only the text is told.
//
// It returns an error if FromJSON cannot serve the schema.
func (s *Schema) JSONSchema(prefix string) (map[string]map[string]any, error) {
	if s.noJSON != nil {
		return nil, fmt.Errorf("describing JSON for %s: %w", s.FullName(), s.noJSON)
	}
	d := describer{prefix: prefix, definitions: map[string]map[string]any{}}
	d.describe(s.root)
	return d.definitions, nil
}

type describer struct {
	prefix      string
	definitions map[string]map[string]any
}

// describe returns the schema of a node; of a named one, a reference.
func (d *describer) describe(n *node) map[string]any {
	switch n.kind {
	case kindRecord, kindEnum:
		d.define(n)
		return map[string]any{"$ref": d.prefix + n.name}
	case kindUnion:
		return orNull(d.describe(n.value))
	case kindArray:
		return map[string]any{"type": "array", "items": d.describe(n.items)}
	case kindMap:
		return map[string]any{"type": "object", "additionalProperties": d.describe(n.items)}
	case kindInt:
		return map[string]any{"type": "integer", "format": "int32"}
	case kindLong:
		if _, isTime := timeUnits[n.logical]; isTime {
			return map[string]any{"type": "string", "format": "date-time"}
		}
		return map[string]any{"type": "integer", "format": "int64"}
	case kindFloat, kindDouble:
		return map[string]any{"type": "number", "format": n.kind}
	case kindBytes:
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	case kindFixed:
		length := base64.StdEncoding.EncodedLen(n.size)
		return map[string]any{"type": "string", "contentEncoding": "base64", "minLength": length, "maxLength": length}
	default: // null, boolean and string are called the same
		return map[string]any{"type": n.kind}
	}
}

// orNull returns what takes null as well.
func orNull(schema map[string]any) map[string]any {
	if kind, ok := schema["type"]; ok {
		schema["type"] = []any{kind, "null"}
		return schema
	}
	return map[string]any{"anyOf": []any{schema, map[string]any{"type": "null"}}}
}

// define adds the definition of a named node, once: a recursive schema comes here again.
func (d *describer) define(n *node) {
	if _, known := d.definitions[n.name]; known {
		return
	}
	definition := map[string]any{"type": "object"}
	d.definitions[n.name] = definition
	if n.doc != "" {
		definition["description"] = n.doc
	}
	if n.kind == kindEnum {
		definition["type"], definition["enum"] = "string", n.symbols
		return
	}
	properties := map[string]any{}
	var required []string
	for _, f := range n.fields {
		property := d.describe(f.node)
		if f.doc != "" {
			property["description"] = f.doc
		}
		properties[f.name] = property
		if f.def == nil {
			required = append(required, f.name)
		}
	}
	definition["properties"] = properties
	if len(required) > 0 {
		definition["required"] = required
	}
}
