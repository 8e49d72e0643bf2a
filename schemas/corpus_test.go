package schemas

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	hamba "github.com/hamba/avro/v2"
)

var update = flag.Bool("update", false, "append to testdata/corpus what it lacks")

const corpusDir = "testdata/corpus"

// TestCorpusOfHamba: hamba still writes the records of the corpus as it did. (Its bytes are not those of Apache Avro
// for Python where there are lists: it tells their size, too. Both are Avro.)
func TestCorpusOfHamba(t *testing.T) {
	dir := os.DirFS(corpusDir)
	c, err := ReadCorpus(dir)
	if err != nil {
		t.Fatal(err)
	}
	values, err := linesOf(dir, "values.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var missing strings.Builder
	for i, e := range c.Encodings {
		var line struct{ Value any }
		d := json.NewDecoder(bytes.NewReader(values[i]))
		d.UseNumber()
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		schema := hamba.MustParse(c.Versions[e.FullName][e.Version-1])
		payload, err := hamba.Marshal(schema, forHamba(t, schema, line.Value))
		if err != nil {
			t.Fatalf("values.jsonl:%d: %v", i+1, err)
		}
		switch had, ok := e.Payloads["hamba"]; {
		case !ok:
			missing.WriteString(hex.EncodeToString(payload) + "\n")
		case !bytes.Equal(payload, had):
			t.Errorf("values.jsonl:%d: hamba writes %x, wrote %x", i+1, payload, had)
		}
	}
	if missing.Len() > 0 && !*update {
		t.Error("hamba.hex lacks records: go test ./schemas -run TestCorpusOfHamba -update")
	}
	if *update {
		f, err := os.OpenFile(corpusDir+"/hamba.hex", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(missing.String()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// forHamba makes of a value of values.jsonl what hamba wants for a schema.
func forHamba(t *testing.T, schema hamba.Schema, v any) any {
	t.Helper()
	whole := func() int64 {
		n, err := v.(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch s := schema.(type) {
	case *hamba.RefSchema:
		return forHamba(t, s.Schema(), v)
	case *hamba.RecordSchema:
		fields := map[string]any{}
		for _, f := range s.Fields() {
			fields[f.Name()] = forHamba(t, f.Type(), v.(map[string]any)[f.Name()])
		}
		return fields
	case *hamba.UnionSchema:
		if v == nil {
			return nil
		}
		of := s.Types()[1]
		if ref, ok := of.(*hamba.RefSchema); ok {
			of = ref.Schema()
		}
		if named, ok := of.(hamba.NamedSchema); ok {
			return map[string]any{named.FullName(): forHamba(t, of, v)}
		}
		name := string(of.Type())
		if l, ok := of.(hamba.LogicalTypeSchema); ok && l.Logical() != nil {
			name += "." + string(l.Logical().Type())
		}
		return map[string]any{name: forHamba(t, of, v)}
	case *hamba.ArraySchema:
		list := []any{}
		for _, item := range v.([]any) {
			list = append(list, forHamba(t, s.Items(), item))
		}
		return list
	case *hamba.PrimitiveSchema:
		switch s.Type() {
		case hamba.Int:
			return int(whole())
		case hamba.Long:
			if s.Logical() != nil {
				return time.UnixMilli(whole()).UTC()
			}
			return whole()
		case hamba.Bytes:
			var b []byte
			for _, r := range v.(string) {
				b = append(b, byte(r))
			}
			return b
		}
	}
	return v
}

// TestCorpusFindsWhatIsWrong: nothing is wrong with a whole corpus; each thing that may be is found.
func TestCorpusFindsWhatIsWrong(t *testing.T) {
	first := record("Dish", dishName, dishPrice)
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, ""},
		"a version that is not in it": {map[string]string{"ledgerline.order.Dish.3.avsc": ""},
			"ledgerline.order.Dish is not in the corpus: add it as ledgerline.order.Dish.3.avsc"},
		"one that it does not read": {map[string]string{"ledgerline.order.Dish.4.avsc": record("Dish", dishName, `{"name":"price","type":"string"}`)}, "against older schema 4 of 4"},
		"a type that is gone":       {map[string]string{"ledgerline.order.Menu.1.avsc": record("Menu", dishName)}, "ledgerline.order.Menu is in the corpus and nothing reads it"},
		"a record cut short":        {map[string]string{"python.hex": "0664616c"}, "python.hex:1: decoding ledgerline.order.Dish"},
		"a byte left over":          {map[string]string{"python.hex": "0664616c0a00"}, "python.hex:1: decoding ledgerline.order.Dish"},
		"another value":             {map[string]string{"python.hex": "0664616c0c"}, "python.hex:1: it is read as {Name:dal Cost:6"},
		"a gap":                     {map[string]string{"ledgerline.order.Dish.5.avsc": first}, "there is no ledgerline.order.Dish.4.avsc"},
		"a name without a version":  {map[string]string{"Dish.avsc": first}, "want a full name, a dot and a version"},
		"another name":              {map[string]string{"Dish.1.avsc": first}, "Dish.1.avsc holds record ledgerline.order.Dish"},
		"no schema":                 {map[string]string{"Dish.1.avsc": "{"}, "Dish.1.avsc: parsing schema"},
		"no bytes":                  {map[string]string{"python.hex": "xx"}, "python.hex:1: encoding/hex"},
		"a record too many":         {map[string]string{"python.hex": "00\n00"}, "python.hex has 2 records, values.jsonl 1"},
		"a value of no schema":      {map[string]string{"values.jsonl": `{"schema":"ledgerline.order.Dish.9"}`}, "values.jsonl:1: there is no ledgerline.order.Dish.9.avsc"},
		"no value":                  {map[string]string{"values.jsonl": `-`}, "values.jsonl:1: invalid"},
	} {
		b := rightDishes(t)
		files := fstest.MapFS{}
		put := func(name, text string) {
			if files[name] = (&fstest.MapFile{Data: []byte(text)}); text == "" {
				delete(files, name)
			}
		}
		put("ledgerline.order.Dish.1.avsc", first)
		put("ledgerline.order.Dish.2.avsc", b.Older[1].Schema.Text())
		put("ledgerline.order.Dish.3.avsc", b.Schema.Text())
		put("values.jsonl", `{"schema":"ledgerline.order.Dish.1","value":{"name":"dal","price":5}}`)
		put("hamba.hex", "0664616c0a")
		for name, text := range row.files {
			put(name, text)
		}
		var found []error
		c, err := ReadCorpus(files)
		if err != nil {
			found = []error{err}
		} else {
			found = c.Check(t.Context(), b)
		}
		if row.want == "" && len(found) > 0 || row.want != "" && (len(found) != 1 || !strings.Contains(found[0].Error(), row.want)) {
			t.Errorf("%s: found %v, want %q", name, found, row.want)
		}
	}
}
