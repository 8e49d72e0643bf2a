package schemas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
)

// ErrUnknownType means that a record or a value is of a type that nobody bound.
var ErrUnknownType = errors.New("type is not bound to a schema")

// Binding ties the versions of a schema to the Go structs that their records are decoded into. Records are
// written as the newest. They are read as the version nearest to what they were written with, and upcast from
// there: whoever decodes sees the newest struct alone.
type Binding struct {
	// Version is the newest.
	Version
	// Older are the versions before it, oldest first.
	Older []Version
}

// Version is one version of a schema.
type Version struct {
	Schema *Schema
	// Go is the struct type. Its fields carry avro:"name" tags.
	Go reflect.Type
	// New returns a pointer to a new zero value of Go, Value what such a pointer points to.
	New   func() any
	Value func(pointer any) any
	// Up makes a value of the next version of one of this; at is the time of its record. It is nil in the newest.
	Up func(value any, at time.Time) any
}

// Codec turns bound values into framed Avro and back. It is safe for concurrent use. What it has
// learnt from the registry it keeps for ever, since ids and their schemas do not change; the way of a
// record whose ids are known takes no lock.
type Codec struct {
	registry Registry
	byGo     map[reflect.Type]*bound
	// byName has full names and, for reading, aliases.
	byName  map[string]*bound
	writers table[int, *writer]
	flights singleflight.Group
}

// bound is a binding with the ids that its schema has, by topic.
type bound struct {
	Binding
	// versions are all, oldest first.
	versions []Version
	ids      table[string, int]
}

// NewCodec returns a codec for the bindings. It asks the registry nothing. It returns an error that
// names the field if a struct does not fit its schema: every field of one must have its match in the
// other (avro:"-" leaves a struct's field out), and the Go type must hold every value of the Avro type.
func NewCodec(registry Registry, bindings ...Binding) (*Codec, error) {
	if registry == nil {
		return nil, errors.New("making codec: a registry is required")
	}
	c := &Codec{registry: registry, byGo: map[reflect.Type]*bound{}, byName: map[string]*bound{}}
	for _, b := range bindings {
		versions := append(slices.Clone(b.Older), b.Version)
		for i, v := range versions {
			if err := v.check(i == len(b.Older)); err != nil {
				return nil, fmt.Errorf("making codec: %w", err)
			}
			if v.Schema.FullName() != b.Schema.FullName() {
				return nil, fmt.Errorf("making codec: version %d of %s is called %s", i+1, b.Schema.FullName(), v.Schema.FullName())
			}
		}
		name := b.Schema.FullName()
		if other, taken := c.byGo[b.Go]; taken {
			return nil, fmt.Errorf("making codec: %v is bound to %s and to %s", b.Go, other.Schema.FullName(), name)
		}
		to := &bound{Binding: b, versions: versions}
		c.byGo[b.Go] = to
		for _, n := range append([]string{name}, b.Schema.aliases...) {
			if _, taken := c.byName[n]; taken {
				return nil, fmt.Errorf("making codec: two bindings read %s", n)
			}
			c.byName[n] = to
		}
	}
	return c, nil
}

// check returns what is wrong with a version.
func (v Version) check(newest bool) error {
	if v.Schema == nil || v.Go == nil || v.New == nil || v.Value == nil || newest != (v.Up == nil) {
		return errors.New("a binding needs Schema, Go, New and Value, and each older version Up")
	}
	name := v.Schema.FullName()
	if made := reflect.TypeOf(v.New()); made != reflect.PointerTo(v.Go) {
		return fmt.Errorf("binding of %s: New returns %v, want *%v", name, made, v.Go)
	}
	if value := reflect.TypeOf(v.Value(v.New())); value != v.Go {
		return fmt.Errorf("binding of %s: Value returns %v, want %v", name, value, v.Go)
	}
	if err := fit(v.Schema, v.Go); err != nil {
		return fmt.Errorf("binding of %s to %v: %w", name, v.Go, err)
	}
	return nil
}

// frameSize is the length of what stands before the Avro: a zero byte and the schema's id.
const frameSize = 5

// Encode returns value, a struct of a bound type or a pointer to one, as a record's value for topic:
// a zero byte, the schema's id in four bytes big-endian, Avro. Times are cut to their schema's unit.
// The first call for a type and topic asks the registry. Encode returns ErrUnknownType for a type that
// is not bound, ErrNotRegistered for a schema that the registry does not have, ctx's error, the
// registry's, or that a value has no Avro form; each wrapped.
func (c *Codec) Encode(ctx context.Context, topic string, value any) ([]byte, error) {
	return c.AppendEncode(ctx, nil, topic, value)
}

// AppendEncode is Encode to the end of dst.
func (c *Codec) AppendEncode(ctx context.Context, dst []byte, topic string, value any) ([]byte, error) {
	b, err := c.bindingOf(value)
	if err != nil {
		return nil, err
	}
	id, ok := b.ids.get(topic)
	if !ok {
		if id, err = c.lookUp(ctx, topic, b); err != nil {
			return nil, err
		}
	}
	dst = slices.Grow(dst, 64)
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(id))
	return b.append(dst, value)
}

// Payload returns value as Avro of its newest schema without a frame. Equal values have equal payloads,
// so it can be hashed. Its errors are those of Encode that do not come of the registry.
func (c *Codec) Payload(value any) ([]byte, error) {
	b, err := c.bindingOf(value)
	if err != nil {
		return nil, err
	}
	return b.append(nil, value)
}

// FromJSON reads plain JSON as a value of the bound type of that full name: by [Schema.FromJSON] to
// Avro, and from there as Decode does. It returns ErrUnknownType, a *JSONError, or that the struct
// cannot hold the value; each wrapped or plain.
func (c *Codec) FromJSON(fullName string, data []byte) (any, error) {
	b, ok := c.byName[fullName]
	if !ok {
		return nil, fmt.Errorf("reading JSON for %s: %w", fullName, ErrUnknownType)
	}
	payload, err := b.Schema.FromJSON(data)
	if err != nil {
		return nil, err
	}
	value, err := decode(b.Schema.avro, b.Version, payload)
	if err != nil {
		return nil, fmt.Errorf("reading JSON for %s: %w", fullName, err)
	}
	return value, nil
}

// Preload asks the registry for the ids under which values of the named types will be written to topic,
// so that a service finds out at its start that a schema is missing. It tries all of them and joins
// what failed: ErrUnknownType, ErrNotRegistered (with the subject and what to type), or that the
// registry could not say.
func (c *Codec) Preload(ctx context.Context, topic string, fullNames ...string) error {
	var failed []error
	for _, name := range fullNames {
		b, ok := c.byName[name]
		if !ok {
			failed = append(failed, fmt.Errorf("preloading %s: %w", Subject(topic, name), ErrUnknownType))
			continue
		}
		if _, known := b.ids.get(topic); known {
			continue
		}
		if _, err := c.lookUp(ctx, topic, b); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (c *Codec) bindingOf(value any) (*bound, error) {
	t := reflect.TypeOf(value)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	b, ok := c.byGo[t]
	if !ok {
		return nil, fmt.Errorf("encoding %T: %w", value, ErrUnknownType)
	}
	return b, nil
}

func (b *bound) append(dst []byte, value any) (_ []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("encoding %s: the codec panicked: %v", b.Schema.FullName(), p)
		}
	}()
	start := len(dst)
	dst, err = b.Schema.avro.AppendEncode(dst, value)
	if err == nil && b.Schema.hasMaps {
		dst, err = sortMaps(dst, start, b.Schema.root)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", b.Schema.FullName(), err)
	}
	return dst, nil
}

// lookUp asks the registry for the id of b's schema in topic, and remembers it.
func (c *Codec) lookUp(ctx context.Context, topic string, b *bound) (int, error) {
	subject := Subject(topic, b.Schema.FullName())
	err := c.once(ctx, "s"+subject, func(ctx context.Context) error {
		if _, known := b.ids.get(topic); known {
			return nil
		}
		id, err := c.registry.SchemaID(ctx, subject, b.Schema.Text())
		if err == nil && (id < 0 || id > math.MaxInt32) {
			err = fmt.Errorf("the registry gave id %d", id)
		}
		if err != nil {
			return err
		}
		b.ids.put(topic, id)
		if !c.Knows(id) { // so that what is written can be read while the registry is away
			c.writers.put(id, c.resolve(b.Schema.Text()))
		}
		return nil
	})
	switch {
	case errors.Is(err, ErrNotRegistered):
		return 0, fmt.Errorf("encoding for subject %s: %w (run: provision apply)", subject, err)
	case err != nil:
		return 0, fmt.Errorf("encoding for subject %s: %w", subject, err)
	}
	id, _ := b.ids.get(topic)
	return id, nil
}
