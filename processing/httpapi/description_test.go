package httpapi_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

const docURL = "https://ledgerline.test/openapi.json"

// jarSchema describes the types of the jar.
func jarSchema(t processing.Type, prefix string) (string, map[string]map[string]any, error) {
	fields := ""
	if t.Name != "BreakJar" {
		fields = `{"name":"amount","type":"long","default":0,"doc":"How much."}`
	}
	s, err := schemas.Parse(`{"type":"record","name":"` + t.Name + `","namespace":"jars","doc":"A ` + t.Name + `.","fields":[` + fields + `]}`)
	if err != nil {
		return "", nil, err
	}
	definitions, err := s.JSONSchema(prefix)
	return s.FullName(), definitions, err
}

// doc is a description with what validates against its parts.
type doc struct {
	text []byte
	tree map[string]any

	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
	// seen are the answers checked, "GET /v1/jars/{id} 200".
	seen map[string]bool
}

var (
	docsMu sync.Mutex
	docs   = map[string]*doc{} // by text: compiling is slow, and the tests have few
)

// described returns the description that mux serves.
func described(t *testing.T, mux *http.ServeMux) *doc {
	t.Helper()
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("description: %d %v", w.Code, w.Header())
	}
	docsMu.Lock()
	defer docsMu.Unlock()
	d := docs[w.Body.String()]
	if d == nil {
		d = newDoc(t, w.Body.Bytes(), true)
		docs[w.Body.String()] = d
	}
	return d
}

// newDoc reads a description. With strict its documents have no other fields than it tells of: that is
// what is checked of the answers of today, although those of tomorrow may have more.
func newDoc(t *testing.T, text []byte, strict bool) *doc {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &doc{text: text, tree: tree.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}, seen: map[string]bool{}}
	d.compiler.AssertFormat()
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range object(resource, "components", "schemas") {
		if s := s.(map[string]any); strict && s["type"] == "object" {
			s["additionalProperties"] = false
		}
	}
	if err := d.compiler.AddResource(docURL, resource); err != nil {
		t.Fatal(err)
	}
	return d
}

// object returns what stands below keys, nil if nothing does.
func object(tree any, keys ...string) map[string]any {
	for _, key := range keys {
		m, _ := tree.(map[string]any)
		tree = m[key]
	}
	m, _ := tree.(map[string]any)
	return m
}

// follow resolves a reference within the document, and returns where it led.
func (d *doc) follow(at []string) (map[string]any, []string) {
	found := object(d.tree, at...)
	if ref, ok := found["$ref"].(string); ok {
		return d.follow(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
	}
	return found, at
}

// schema returns the schema at a place.
func (d *doc) schema(t *testing.T, at ...string) *jsonschema.Schema {
	t.Helper()
	for i, key := range at {
		at[i] = strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	pointer := strings.Join(at, "/")
	docsMu.Lock()
	defer docsMu.Unlock()
	if d.schemas[pointer] == nil {
		s, err := d.compiler.Compile(docURL + "#/" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		d.schemas[pointer] = s
	}
	return d.schemas[pointer]
}

// undocumented are headers that answers have and descriptions do not name.
var undocumented = []string{"Content-Type", "Cache-Control"}

// check says what of an answer is not as described. The paths that catch mistakes are not described.
func (d *doc) check(t *testing.T, mux *http.ServeMux, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	_, pattern := mux.Handler(r)
	method, path, _ := strings.Cut(pattern, " ")
	operation := object(d.tree, "paths", path, strings.ToLower(method))
	if operation == nil {
		if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %s is not described", r.Method, r.URL, pattern)
		}
		return
	}
	status := strconv.Itoa(w.Code)
	response, at := d.follow([]string{"paths", path, strings.ToLower(method), "responses", status})
	if response == nil {
		t.Errorf("%s: status %s is not described", pattern, status)
		return
	}
	for name := range w.Header() {
		header := object(response, "headers", name)
		if name == "Etag" {
			header = object(response, "headers", "ETag")
		}
		if header == nil && !slices.Contains(undocumented, name) {
			t.Errorf("%s %s: header %s is not described", pattern, status, name)
		}
	}
	d.checkHeaders(t, response, at, w)
	content := object(response, "content")
	if len(content) == 0 {
		if w.Body.Len() > 0 {
			t.Errorf("%s %s: a body is not described", pattern, status)
		}
	} else if media := w.Header().Get("Content-Type"); content[media] == nil {
		t.Errorf("%s %s: %s is not described", pattern, status, media)
	} else if err := validate(d.schema(t, append(slices.Clone(at), "content", media, "schema")...), w.Body.String()); strings.Contains(w.Body.String(), undeclared) != (err != nil) {
		t.Errorf("%s %s: %s: %v", pattern, status, w.Body, err)
	}
	if request := object(operation, "requestBody"); request != nil && w.Code == http.StatusCreated {
		if body == "" && request["required"] == true {
			t.Errorf("%s: taken without its body, which is required", pattern)
		} else if err := validate(d.schema(t, "paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema"), body); body != "" && err != nil {
			t.Errorf("%s: taken although not as described: %v", pattern, err)
		}
	}
	docsMu.Lock()
	defer docsMu.Unlock()
	d.seen[pattern+" "+status] = true
}

func (d *doc) checkHeaders(t *testing.T, response map[string]any, at []string, w *httptest.ResponseRecorder) {
	t.Helper()
	for name := range object(response, "headers") {
		value := w.Header().Get(name)
		if value == "" {
			continue
		}
		s := d.schema(t, append(slices.Clone(at), "headers", name, "schema")...)
		var instance any = value
		if object(response, "headers", name, "schema")["type"] == "integer" {
			instance = json.Number(value)
		}
		if err := s.Validate(instance); err != nil {
			t.Errorf("header %s: %v", name, err)
		}
	}
}

func validate(s *jsonschema.Schema, text string) error {
	instance, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(instance)
}

// answers returns all statuses that are described, as seen has them.
func (d *doc) answers() (all []string) {
	for path, item := range object(d.tree, "paths") {
		for method := range item.(map[string]any) {
			for status := range object(d.tree, "paths", path, method, "responses") {
				all = append(all, strings.ToUpper(method)+" "+path+" "+status)
			}
		}
	}
	slices.Sort(all)
	return all
}

// wantOpenAPI checks the document as such: it is OpenAPI 3.1 by the schema that the standard comes with
// (OpenAPI Initiative, Apache 2.0), its references lead somewhere, its schemas are schemas, operations
// are named once and parameters of paths declared.
func (d *doc) wantOpenAPI(t *testing.T) {
	t.Helper()
	standard, err := os.ReadFile("testdata/oas-3.1-schema-2022-10-07.json")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(standard))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("https://spec.openapis.org/oas/3.1/schema/2022-10-07", tree); err != nil {
		t.Fatal(err)
	}
	if err := c.MustCompile("https://spec.openapis.org/oas/3.1/schema/2022-10-07").Validate(any(d.tree)); err != nil {
		t.Error(err)
	}
	d.walk(t, nil, d.tree)
	ids := map[string]string{}
	for path, item := range object(d.tree, "paths") {
		for method := range item.(map[string]any) {
			operation := object(item, method)
			id := operation["operationId"].(string)
			if ids[id] != "" {
				t.Errorf("%s is called %s, as is %s", path, id, ids[id])
			}
			ids[id] = path
			declared := map[string]bool{}
			parameters, _ := operation["parameters"].([]any)
			for _, p := range parameters {
				if ref, ok := object(p)["$ref"].(string); ok {
					p, _ = d.follow(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
				}
				if object(p)["in"] == "path" {
					declared["{"+object(p)["name"].(string)+"}"] = true
				}
			}
			inPath := map[string]bool{}
			for _, element := range strings.Split(path, "/") {
				if strings.HasPrefix(element, "{") {
					inPath[element] = true
				}
			}
			if !maps.Equal(declared, inPath) {
				t.Errorf("%s has parameters %v, declared are %v", path, inPath, declared)
			}
		}
	}
}

// walk follows every reference and compiles every schema below at.
func (d *doc) walk(t *testing.T, at []string, below any) {
	t.Helper()
	switch b := below.(type) {
	case map[string]any:
		if ref, ok := b["$ref"].(string); ok {
			if found, _ := d.follow(strings.Split(strings.TrimPrefix(ref, "#/"), "/")); found == nil {
				t.Errorf("%v refers to %s, which is not there", at, ref)
			}
		}
		if len(at) > 0 && at[len(at)-1] == "schema" || len(at) == 3 && at[1] == "schemas" {
			d.schema(t, slices.Clone(at)...)
		}
		for key, v := range b {
			d.walk(t, append(slices.Clone(at), key), v)
		}
	case []any:
		for i, v := range b {
			d.walk(t, append(slices.Clone(at), strconv.Itoa(i)), v)
		}
	}
}
