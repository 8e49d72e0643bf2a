package httpapi

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

// schemasAt is where a document keeps its schemas.
const schemasAt = "#/components/schemas/"

var about = fmt.Sprintf(`Commands change an aggregate: POST /v1/{collection}/{id}/{command}. Queries read what was made of
the events. A query that names the Ledgerline-Position of a command's answer shows its effects.

Whatever is not a success is a problem document (RFC 9457); callers branch on its code. Besides those told of
each path: 404 unknown-resource and unknown-command, 405 method-not-allowed. Every 503 says when to
try again.

Money is a whole number of minor units (pence, cents), in a command at most %d either way. A number
with a fraction or an exponent is answered with 422 where a whole one is wanted. Times are RFC 3339. Answers may
have further fields tomorrow.`, processing.MaxMinorUnits)

// document is an OpenAPI document in the making.
type document struct {
	api *huma.OpenAPI
	// schema describes commands and events; nil if nobody can.
	schema JSONSchema
	// names has what each schema's name stands for: a Go type or a definition.
	names map[string]any
}

func newDocument(name string) *document {
	d := &document{names: map[string]any{}}
	d.api = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: cmp.Or(name, "ledgerline"), Version: "1", Description: about},
		Paths:   map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas:    huma.NewMapRegistry(schemasAt, d.nameOf),
			Parameters: map[string]*huma.Param{},
			Responses:  map[string]*huma.Response{},
		},
	}
	return d
}

// nameOf names the schema of a Go type after it; if that is taken, with its package before it.
func (d *document) nameOf(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	if t.Kind() != reflect.Struct {
		return name // it has no schema of its own
	}
	if other, taken := d.names[name]; taken && other != t {
		name = path.Base(t.PkgPath()) + "." + name
	}
	for other, taken := d.names[name]; taken && other != t; other, taken = d.names[name] {
		name += "_"
	}
	d.names[name] = t
	return name
}

// put adds the operation of a route.
func (d *document) put(r route, operation *huma.Operation) {
	item := d.api.Paths[r.path]
	if item == nil {
		item = &huma.PathItem{}
		d.api.Paths[r.path] = item
	}
	if r.method == http.MethodPost {
		item.Post = operation
	} else {
		item.Get = operation
	}
}

// goType returns the schema of a Go type by its json tags, a reference for a struct. Nil is anything.
func (d *document) goType(t reflect.Type) *huma.Schema {
	if t == nil {
		return &huma.Schema{}
	}
	return d.api.Components.Schemas.Schema(t, true, "")
}

// avroType returns a reference to the schema of a command or an event, and the schema itself. closed
// says that it takes no other fields.
func (d *document) avroType(t processing.Type, closed bool) (*huma.Schema, map[string]any, error) {
	if d.schema == nil {
		return &huma.Schema{Type: huma.TypeObject}, map[string]any{}, nil
	}
	read := func(prefix string) (string, map[string]map[string]any, error) {
		name, definitions, err := d.schema(t, schemasAt+prefix)
		if err != nil {
			return "", nil, err
		}
		if closed {
			definitions[name]["additionalProperties"] = false
		}
		limits{definitions: definitions, prefix: schemasAt + prefix, seen: map[string]bool{}}.add(t.Go, name)
		return name, definitions, nil
	}
	prefix := ""
	name, definitions, err := read(prefix)
	if err == nil && d.differs(definitions) {
		// Two schemas have a record of one name in different versions: this one keeps its own.
		prefix = name + "."
		name, definitions, err = read(prefix)
	}
	if err != nil {
		return nil, nil, err
	}
	for n, definition := range definitions {
		d.names[prefix+n] = definition
		d.api.Components.Schemas.Map()[prefix+n] = &huma.Schema{Extensions: definition}
	}
	return &huma.Schema{Ref: schemasAt + prefix + name}, definitions[name], nil
}

// differs reports whether a name stands for something else already.
func (d *document) differs(definitions map[string]map[string]any) bool {
	for name, definition := range definitions {
		if other, taken := d.names[name]; taken && !reflect.DeepEqual(other, definition) {
			return true
		}
	}
	return false
}

// limits adds what an Avro schema cannot say and the tags of a Go struct do, by huma's names:
// minLength, maxLength, pattern, minimum, maximum.
type limits struct {
	definitions map[string]map[string]any
	prefix      string
	seen        map[string]bool
}

func (l limits) add(t reflect.Type, name string) {
	properties, _ := l.definitions[name]["properties"].(map[string]any)
	if l.seen[name] || properties == nil {
		return
	}
	l.seen[name] = true
	for _, f := range reflect.VisibleFields(t) {
		field, _, _ := strings.Cut(f.Tag.Get("avro"), ",")
		property, ok := properties[field].(map[string]any)
		if !ok {
			continue
		}
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch of.Kind() {
		case reflect.Struct:
			if of != reflect.TypeFor[time.Time]() {
				l.add(of, l.referred(property))
			}
		case reflect.String, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
			maps.Copy(property, tagged(f))
		}
	}
}

// referred returns the name that a property refers to, be it null as well or not.
func (l limits) referred(property map[string]any) string {
	if either, ok := property["anyOf"].([]any); ok && len(either) > 0 {
		property, _ = either[0].(map[string]any)
	}
	ref, _ := property["$ref"].(string)
	return strings.TrimPrefix(ref, l.prefix)
}

func tagged(f reflect.StructField) map[string]any {
	s := huma.SchemaFromField(huma.NewMapRegistry(schemasAt, huma.DefaultSchemaNamer), f, "")
	said := map[string]any{}
	if s.MinLength != nil {
		said["minLength"] = *s.MinLength
	}
	if s.MaxLength != nil {
		said["maxLength"] = *s.MaxLength
	}
	if s.Pattern != "" {
		said["pattern"] = s.Pattern
	}
	if s.Minimum != nil {
		said["minimum"] = *s.Minimum
	}
	if s.Maximum != nil {
		said["maximum"] = *s.Maximum
	}
	return said
}
