package schemas

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

var errOwnEncoding = errors.New("sorting map entries: the encoding does not follow the schema")

// sortMaps rewrites the Avro that begins at start of data so that every map is one block in byte order
// of its keys. The library writes maps in Go's random order: a retry of the same command would have
// another body hash. Data must be the library's own: claims of size in it are believed.
func sortMaps(data []byte, start int, n *node) (_ []byte, err error) {
	w := mapSorter{src: bytes.Clone(data[start:])}
	out := w.value(data[:start], n)
	if w.bad || len(w.src) > 0 {
		return nil, errOwnEncoding
	}
	return out, nil
}

// mapSorter copies from the front of src.
type mapSorter struct {
	src []byte
	bad bool
}

func (w *mapSorter) take(size int) []byte {
	if size < 0 || size > len(w.src) {
		w.bad, size = true, 0
	}
	out := w.src[:size]
	w.src = w.src[size:]
	return out
}

func (w *mapSorter) varint() int64 {
	v, size := binary.Varint(w.src)
	w.take(size)
	w.bad = w.bad || size <= 0
	return v
}

func (w *mapSorter) value(dst []byte, n *node) []byte {
	switch n.kind {
	case kindBoolean:
		return append(dst, w.take(1)...)
	case kindInt, kindLong, kindEnum:
		return binary.AppendVarint(dst, w.varint())
	case kindFloat:
		return append(dst, w.take(4)...)
	case kindDouble:
		return append(dst, w.take(8)...)
	case kindFixed:
		return append(dst, w.take(n.size)...)
	case kindBytes, kindString:
		size := w.varint()
		return append(binary.AppendVarint(dst, size), w.take(int(size))...)
	case kindUnion:
		i := w.varint()
		if i < 0 || i >= int64(len(n.branches)) {
			w.bad = true
			return dst
		}
		return w.value(binary.AppendVarint(dst, i), n.branches[i])
	case kindRecord:
		for _, f := range n.fields {
			dst = w.value(dst, f.node)
		}
	case kindArray:
		count := 0
		var items []byte
		w.blocks(func() { items, count = w.value(items, n.items), count+1 })
		return appendBlock(dst, count, items)
	case kindMap:
		return w.mapping(dst, n)
	}
	return dst
}

func (w *mapSorter) mapping(dst []byte, n *node) []byte {
	type entry struct{ key, value []byte }
	var entries []entry
	w.blocks(func() {
		key := w.take(int(w.varint()))
		entries = append(entries, entry{key, w.value(nil, n.items)})
	})
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(string(a.key), string(b.key)) })
	var body []byte
	for _, e := range entries {
		body = append(appendString(body, string(e.key)), e.value...)
	}
	return appendBlock(dst, len(entries), body)
}

// blocks calls item for each item of an array or map.
func (w *mapSorter) blocks(item func()) {
	for !w.bad {
		count := w.varint()
		if count == 0 {
			return
		}
		if count < 0 {
			count = -count
			w.varint() // the block's size in bytes
		}
		for i := int64(0); i < count && !w.bad; i++ {
			item()
		}
	}
}
