package schemas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/avro"
)

// ErrUndecodable means that a record will never decode: its frame is bad, it is cut short, it has bytes
// left over, its schema does not exist (then ErrNotRegistered matches too), is no Avro record, or is
// incompatible (then ErrIncompatible matches too).
var ErrUndecodable = errors.New("record cannot be decoded")

// ErrIncompatible means that a record was written with a schema that the bound one cannot read. A
// newer binary may.
var ErrIncompatible = errors.New("schema of the writer is incompatible")

// Decoded is a record's value.
type Decoded struct {
	// FullName and Name are the bound schema's. With ErrUnknownType they are the writer's.
	FullName string
	Name     string
	// Value is a struct of the bound Go type, not a pointer. Times in it are in UTC.
	Value any
}

// Decode reads a framed record with the schema that it was written with, as the version nearest to it of those
// bound to that full name or having it as an alias, and upcasts that to the newest; at is the record's time,
// for upcasters. All readers go through it. The first record of an id asks the registry, once however many
// wait. The value shares no memory with data.
//
// Errors that match ErrUndecodable or ErrUnknownType are final for this binary. Any other means that
// the registry could not say or that ctx ended: nothing is known about the record, try again.
func (c *Codec) Decode(ctx context.Context, data []byte, at time.Time) (Decoded, error) {
	if len(data) < frameSize || data[0] != 0 {
		return Decoded{}, fmt.Errorf("decoding %d bytes without a schema's frame: %w", len(data), ErrUndecodable)
	}
	id := binary.BigEndian.Uint32(data[1:])
	if id > math.MaxInt32 {
		return Decoded{}, fmt.Errorf("decoding record of schema id %d: no registry gives such an id: %w", id, ErrUndecodable)
	}
	w, ok := c.writers.get(int(id))
	if !ok {
		var err error
		if w, err = c.writer(ctx, int(id)); err != nil {
			return Decoded{}, fmt.Errorf("decoding record of schema id %d: %w", id, err)
		}
	}
	if w.err != nil {
		return Decoded{FullName: w.name, Name: simpleName(w.name)}, fmt.Errorf("decoding record of schema id %d: %w", id, w.err)
	}
	value, err := decode(w.resolved, w.to.versions[w.version], data[frameSize:])
	if err == nil {
		value, err = w.to.upcast(value, w.version, at)
	}
	if err != nil {
		return Decoded{}, fmt.Errorf("decoding %s of schema id %d: %w", w.name, id, err)
	}
	return Decoded{FullName: w.to.Schema.FullName(), Name: w.to.Schema.Name(), Value: value}, nil
}

// FrameID returns the id of the schema that a record is framed with, and false for a record that Decode refuses
// without asking the registry.
func FrameID(data []byte) (id int, framed bool) {
	if len(data) < frameSize || data[0] != 0 {
		return 0, false
	}
	n := binary.BigEndian.Uint32(data[1:])
	return int(n), n <= math.MaxInt32
}

// Knows reports whether records of a schema id are decoded without asking the registry.
func (c *Codec) Knows(id int) bool {
	_, known := c.writers.get(id)
	return known
}

// Learn asks the registry for the schema of an id unless it is known. Its errors are those that Decode returns
// before it has a schema: one that matches ErrUndecodable says that there is none.
func (c *Codec) Learn(ctx context.Context, id int) error {
	if _, err := c.writer(ctx, id); err != nil {
		return fmt.Errorf("decoding record of schema id %d: %w", id, err)
	}
	return nil
}

// decode reads one payload, all of it.
func decode(resolved *avro.Schema, to Version, payload []byte) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: the codec panicked: %v", ErrUndecodable, p)
		}
	}()
	pointer := to.New()
	rest, err := resolved.Decode(payload, pointer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d of %d bytes are left over", ErrUndecodable, len(rest), len(payload))
	}
	return to.Value(pointer), nil
}

// upcast makes a value of a version, counted from 0, one of the newest.
func (b *bound) upcast(value any, version int, at time.Time) (_ any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: upcasting from version %d panicked: %v", ErrUndecodable, version+1, p)
		}
	}()
	for ; version < len(b.versions)-1; version++ {
		value = b.versions[version].Up(value, at)
		if got, want := reflect.TypeOf(value), b.versions[version+1].Go; got != want {
			return nil, fmt.Errorf("%w: the upcaster from version %d returns %v, want %v", ErrUndecodable, version+1, got, want)
		}
	}
	return value, nil
}

// writer is what is known about the schema of an id: how to read its records, or why that cannot be.
type writer struct {
	name string
	to   *bound
	// version is the one that records are read as, counted from 0.
	version  int
	resolved *avro.Schema
	err      error
}

func (c *Codec) writer(ctx context.Context, id int) (*writer, error) {
	err := c.once(ctx, "i"+strconv.Itoa(id), func(ctx context.Context) error {
		if _, known := c.writers.get(id); known {
			return nil
		}
		text, err := c.registry.SchemaByID(ctx, id)
		if err != nil {
			return err
		}
		c.writers.put(id, c.resolve(text))
		return nil
	})
	if errors.Is(err, ErrNotRegistered) {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the registry: %w", err)
	}
	w, _ := c.writers.get(id)
	return w, nil
}

// resolve works out how records written with the schema text are read. The verdict is final.
func (c *Codec) resolve(text string) (w *writer) {
	w = &writer{}
	defer func() {
		if p := recover(); p != nil {
			w.err = fmt.Errorf("%w: resolving its schema panicked: %v", ErrUndecodable, p)
		}
	}()
	from, err := Parse(text)
	if err != nil {
		w.err = fmt.Errorf("%w: %w", ErrUndecodable, err)
		return w
	}
	w.name = from.FullName()
	to, ok := c.byName[w.name]
	if !ok {
		w.err = fmt.Errorf("%s: %w", w.name, ErrUnknownType)
		return w
	}
	w.to = to
	w.version = to.nearest(from)
	if w.resolved, err = resolve(from, to.versions[w.version].Schema); err != nil {
		w.err = fmt.Errorf("%w: %w: %s: %w", ErrUndecodable, ErrIncompatible, w.name, err)
	}
	return w
}

// nearest returns the version that has most of a writer's fields by their own names, and then fewest others;
// the newest of several. So a version reads its own, whatever tools made of its text, and a version that is
// not known yet is read as the newest.
func (b *bound) nearest(writer *Schema) (version int) {
	most, fewest := -1, 0
	for i, v := range b.versions {
		common := 0
		for _, f := range v.Schema.root.fields {
			if slices.ContainsFunc(writer.root.fields, func(w field) bool { return w.name == f.name }) {
				common++
			}
		}
		if others := len(v.Schema.root.fields) - common; common > most || common == most && others <= fewest {
			version, most, fewest = i, common, others
		}
	}
	return version
}
