package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

// descriptionPath is where a mux describes itself.
const descriptionPath = "/openapi.json"

// JSONSchema describes the JSON of a command's or an event's type as JSON Schema (draft 2020-12):
// definitions by name, which refer to each other by prefix and name, and the name of t's own.
type JSONSchema func(t processing.Type, prefix string) (name string, definitions map[string]map[string]any, err error)

// Describe returns the OpenAPI 3.1 description of an API that takes the commands of aggregates and
// shows models, as a mux with both would serve it at /openapi.json. It needs no service.
func Describe(name string, aggregates []*processing.Aggregate, models []*processing.ReadModel, schema JSONSchema) ([]byte, error) {
	commands := &Commands{config: CommandsConfig{Name: name, Aggregates: aggregates, JSONSchema: schema}}
	queries := &Queries{config: QueriesConfig{Name: name, Aggregates: aggregates, Models: models, JSONSchema: schema}}
	return describe([]part{commands.part(), queries.part()})
}

// part is what Commands or Queries add to a mux.
type part struct {
	name   string
	schema JSONSchema
	routes []route
}

// describe returns the document of all parts, always the same of the same.
func describe(parts []part) ([]byte, error) {
	d := newDocument(parts[0].name)
	own := part{routes: []route{{method: http.MethodGet, path: descriptionPath, describe: describeDescription}}}
	for _, p := range append([]part{own}, parts...) {
		d.schema = p.schema
		for _, r := range p.routes {
			if r.describe == nil {
				continue
			}
			operation, err := r.describe(d)
			if err != nil {
				return nil, fmt.Errorf("describing %s: %w", r.pattern(), err)
			}
			d.put(r, operation)
		}
	}
	return d.text()
}

func describeDescription(*document) (*huma.Operation, error) {
	return &huma.Operation{
		OperationID: "openapi", Summary: "This description",
		Responses: map[string]*huma.Response{"200": {
			Description: "OpenAPI 3.1.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}},
		}},
	}, nil
}

// description serves the document of what is registered on one mux, by however many calls.
type description struct {
	log *slog.Logger

	mu    sync.Mutex
	parts []part
	doc   []byte
}

// descriptionOn returns the description that mux serves, after adding one if there is none. If
// something else is served in its place, that stays there.
func descriptionOn(mux *http.ServeMux, log *slog.Logger) *description {
	const pattern = http.MethodGet + " " + descriptionPath
	h, found := mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: descriptionPath}})
	if known, ok := h.(*description); ok && found == pattern {
		return known
	}
	d := &description{log: log}
	if found != pattern {
		mux.Handle(pattern, d)
	}
	return d
}

// add describes p as well. It panics on what New of Commands and of Queries would have refused.
func (d *description) add(p part) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parts = append(d.parts, p)
	text, err := describe(d.parts)
	if err != nil {
		panic(err)
	}
	d.doc = text
}

// ServeHTTP answers with the document.
func (d *description) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	text := d.doc
	d.mu.Unlock()
	write(w, d.log, http.StatusOK, "application/json", text)
}

// text returns the document, indented.
func (d *document) text() ([]byte, error) {
	for _, s := range d.api.Components.Schemas.Map() {
		// An answer may have a field more tomorrow: only what is sent to us is closed.
		if closed, ok := s.AdditionalProperties.(bool); ok && !closed {
			s.AdditionalProperties = nil
		}
	}
	text, err := json.Marshal(d.api)
	if err != nil {
		return nil, fmt.Errorf("writing the API's description: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return nil, fmt.Errorf("writing the API's description: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
