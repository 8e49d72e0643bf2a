package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// jsonSchema compiles what a schema says of its JSON.
func jsonSchema(t *testing.T, s *Schema) *jsonschema.Schema {
	t.Helper()
	const at = "https://ledgerline.test/schema.json"
	definitions, err := s.JSONSchema(at + "#/$defs/")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"$defs": definitions})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource(at, tree); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(at + "#/$defs/" + s.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// TestJSONSchemaAgreesWithFromJSON gives both the same text.
func TestJSONSchemaAgreesWithFromJSON(t *testing.T) {
	place := mustParse(t, embedded(t, "order", "PlaceOrder").Text())
	all := mustParse(t, everythingText)
	bin := mustParse(t, `{"type":"record","name":"Bin","fields":[{"name":"b","type":"bytes"},{"name":"f","type":{"type":"fixed","name":"F","size":4}}]}`)
	for _, row := range []struct {
		schema *Schema
		text   string
		valid  bool
	}{
		{place, orderHead + `}`, true},
		{place, orderHead + `,"discount":null,"placed_at":null}`, true},
		{place, orderHead + `,"discount":{"minor_units":-1,"currency":"GBP"},"placed_at":"2010-12-01T08:26:00.5+01:00"}`, true},
		{place, orderHead + `,"discount":{"minor_units":1}}`, false},
		{place, orderHead + `,"placed_at":"yesterday"}`, false},
		{place, `{"customer_id":"c"}`, false},
		{place, `{"customer_id":1,"total_amount":{"minor_units":5,"currency":"GBP"}}`, false},
		{place, `{"customer_id":"c","total_amount":{"minor_units":5.5,"currency":"GBP"}}`, false},
		{place, `{"customer_id":"c","total_amount":{"minor_units":"5","currency":"GBP"}}`, false},
		{place, `[]`, false},
		{all, `{}`, true},
		{all, `{"text":"t","small":-1,"large":9,"yes":false,"ratio":1.5,"single":2,"kind":"A","lines":[{"article":"a","count":1}],"labels":{"k":"v"},"gift":{"article":"a","count":1},"more":{"more":{}},"at":"1970-01-01T00:00:00Z","last":null}`, true},
		{all, `{"kind":"C"}`, false},
		{all, `{"yes":1}`, false},
		{all, `{"ratio":"1"}`, false},
		{all, `{"lines":{}}`, false},
		{all, `{"lines":[{"article":"a"}]}`, false},
		{all, `{"labels":{"k":1}}`, false},
		{all, `{"more":{"more":{"text":null}}}`, false},
		{bin, `{"b":"","f":"AAECAw=="}`, true},
		{bin, `{"b":"AP8H","f":"AAECAw=="}`, true},
		{bin, `{"b":"?","f":"AAECAw=="}`, false},
		{bin, `{"b":"","f":"AAEC"}`, false},
		{bin, `{"b":"","f":"AAECAwQFBgc="}`, false},
	} {
		_, reading := row.schema.FromJSON([]byte(row.text))
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(row.text))
		if err != nil {
			t.Fatal(err)
		}
		described := jsonSchema(t, row.schema).Validate(instance)
		if (reading == nil) != row.valid || (described == nil) != row.valid {
			t.Errorf("%s: FromJSON says %v, JSONSchema %v", row.text, reading, described)
		}
	}
}

// TestJSONSchemaDescribesToJSON validates what is written.
func TestJSONSchemaDescribesToJSON(t *testing.T) {
	c, _ := newCodec(t, orderBindings(t)...)
	for _, value := range samples() {
		b, err := c.bindingOf(value)
		if err != nil {
			t.Fatal(err)
		}
		text, err := c.ToJSON(value)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := jsonSchema(t, b.Schema).Validate(instance); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestJSONSchemaIsDescribed has the docs become descriptions.
func TestJSONSchemaIsDescribed(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"A","namespace":"n","doc":"An A.","fields":[
		{"name":"b","type":{"type":"enum","name":"B","doc":"A B.","symbols":["X"]},"doc":"Its B."},{"name":"c","type":"int","default":1}]}`)
	definitions, err := s.JSONSchema("#/")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(definitions)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"n.A":{"description":"An A.","properties":{"b":{"$ref":"#/n.B","description":"Its B."},"c":{"format":"int32","type":"integer"}},` +
		`"required":["b"],"type":"object"},"n.B":{"description":"A B.","enum":["X"],"type":"string"}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	union := mustParse(t, `{"type":"record","name":"U","fields":[{"name":"u","type":["int","string"]}]}`)
	if _, err := union.JSONSchema("#/"); !errors.Is(err, union.noJSON) {
		t.Errorf("a union without a JSON form: %v", err)
	}
}
