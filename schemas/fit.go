package schemas

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// fit returns nil if values of the struct type and records of the schema can stand for each other. The
// library itself writes a struct that has more fields than the schema, and loses them.
func fit(s *Schema, t reflect.Type) error {
	return fitNode(s.root, t, "", map[fitted]bool{})
}

type fitted struct {
	node *node
	t    reflect.Type
}

func fitNode(n *node, t reflect.Type, path string, seen map[fitted]bool) error {
	if seen[fitted{n, t}] {
		return nil
	}
	seen[fitted{n, t}] = true
	switch n.kind {
	case kindRecord:
		return fitRecord(n, t, path, seen)
	case kindArray:
		if t.Kind() == reflect.Slice {
			return fitNode(n.items, t.Elem(), path+"[]", seen)
		}
		return misfit(path, "a slice", t)
	case kindMap:
		if t.Kind() == reflect.Map && t.Key().Kind() == reflect.String {
			return fitNode(n.items, t.Elem(), path+"[]", seen)
		}
		return misfit(path, "a map of strings", t)
	case kindUnion:
		if n.value == nil {
			return fmt.Errorf("field %s: unions other than of null and one type are not supported", path)
		}
		if t.Kind() == reflect.Pointer {
			return fitNode(n.value, t.Elem(), path, seen)
		}
		return misfit(path, "a pointer, nil for null", t)
	}
	return fitLeaf(n, t, path)
}

func fitRecord(n *node, t reflect.Type, path string, seen map[fitted]bool) error {
	if t.Kind() != reflect.Struct {
		return misfit(path, "a struct", t)
	}
	types := map[string]reflect.Type{}
	if err := structFields(t, types); err != nil {
		return err
	}
	for _, f := range n.fields {
		ft, ok := types[f.name]
		if !ok {
			return fmt.Errorf("field %s of the schema has no field in %v: add one with the tag `avro:%q`", join(path, f.name), t, f.name)
		}
		if err := fitNode(f.node, ft, join(path, f.name), seen); err != nil {
			return err
		}
	}
	for name := range types {
		if _, ok := n.index[name]; !ok {
			return fmt.Errorf("field %s of %v is not in the schema: add it there, or tag it `avro:\"-\"`", join(path, name), t)
		}
	}
	return nil
}

// structFields collects the fields of a struct as the library sees them, embedded ones included.
func structFields(t reflect.Type, into map[string]reflect.Type) error {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("avro"), ",")
		switch {
		case name == "-":
			continue
		case options != "":
			return fmt.Errorf("field %s of %v: tag option %q is not supported: a value must be written as it is", f.Name, t, options)
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			if err := structFields(f.Type, into); err != nil {
				return err
			}
			continue
		case !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		if _, twice := into[name]; twice {
			return fmt.Errorf("two fields of %v are called %s", t, name)
		}
		into[name] = f.Type
	}
	return nil
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	marshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func fitLeaf(n *node, t reflect.Type, path string) error {
	k := t.Kind()
	switch n.kind {
	case kindString:
		if k == reflect.String || t.Implements(marshalerType) && reflect.PointerTo(t).Implements(unmarshalerType) {
			return nil
		}
		return misfit(path, "a string", t)
	case kindEnum:
		if k == reflect.String {
			return nil
		}
		return misfit(path, "a string", t)
	case kindBoolean:
		if k == reflect.Bool {
			return nil
		}
		return misfit(path, "a bool", t)
	case kindInt, kindLong:
		if _, ok := timeUnits[n.logical]; (ok || n.logical == "date") && t == timeType {
			return nil
		}
		// On 32-bit machines an int is too small for a long.
		if k == reflect.Int64 || n.kind == kindInt && (k == reflect.Int32 || k == reflect.Int) {
			return nil
		}
		return misfit(path, map[string]string{kindInt: "an int32 or int64", kindLong: "an int64"}[n.kind], t)
	case kindFloat, kindDouble:
		if k == reflect.Float64 || n.kind == kindFloat && k == reflect.Float32 {
			return nil
		}
		return misfit(path, "a float64", t)
	case kindBytes:
		if k == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			return nil
		}
		return misfit(path, "a []byte", t)
	case kindFixed:
		if k == reflect.Array && t.Elem().Kind() == reflect.Uint8 && t.Len() == n.size {
			return nil
		}
		return misfit(path, fmt.Sprintf("a [%d]byte", n.size), t)
	}
	return fmt.Errorf("field %s: %w", path, errors.ErrUnsupported)
}

func misfit(path, want string, t reflect.Type) error {
	if path == "" {
		return fmt.Errorf("want %s, got %v", want, t)
	}
	return fmt.Errorf("field %s: want %s, got %v", path, want, t)
}
