package ledgerline

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/schemas"
)

// OpenAPI returns the OpenAPI 3.1 description of the HTTP API of a, commands and queries. It needs no
// service. A process serves the same at /openapi.json, of what it answers itself. It returns an error
// if a contradicts itself.
func (a App) OpenAPI() ([]byte, error) {
	bindings, err := a.check()
	if err != nil {
		return nil, err
	}
	return httpapi.Describe(a.Name, a.Aggregates, a.ReadModels, jsonSchemas(bindings))
}

// jsonSchemas describes the bound types for HTTP.
func jsonSchemas(bindings []schemas.Binding) httpapi.JSONSchema {
	return func(t processing.Type, prefix string) (string, map[string]map[string]any, error) {
		for _, b := range bindings {
			if b.Go == t.Go {
				definitions, err := b.Schema.JSONSchema(prefix)
				return b.Schema.FullName(), definitions, err
			}
		}
		return "", nil, fmt.Errorf("type %s is not bound to a schema", t.Name)
	}
}
