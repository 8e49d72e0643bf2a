package httpapi

import (
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

// query begins the description of a query of m and tells how every query may be refused.
func (d *document) query(m *processing.ReadModel, collection, id, summary string, parameters ...*huma.Param) (*huma.Operation, refusals) {
	by := refusals{}
	by.add(http.StatusBadRequest, "invalid-position")
	by.add(http.StatusServiceUnavailable, "read-model-behind", "read-model-broken", "read-model-rebuilding", "unavailable")
	return &huma.Operation{
		OperationID: id, Tags: []string{collection}, Summary: summary, Description: "Read model " + m.Name + ".",
		Parameters: append(parameters, d.position()), Responses: map[string]*huma.Response{},
	}, by
}

// describeDocument describes one document.
func describeDocument(m *processing.ReadModel) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		operation, by := d.query(m, m.Collection, "get-"+m.Collection, "One of "+m.Collection, d.id())
		tag := func() map[string]*huma.Header { return map[string]*huma.Header{"ETag": shownHeader(m)} }
		operation.Responses["200"] = answered("The document.", d.goType(m.Shows), tag())
		operation.Responses["304"] = &huma.Response{Description: "It is still what If-None-Match names.", Headers: tag()}
		operation.Parameters = append(operation.Parameters, &huma.Param{
			Name: "If-None-Match", In: "header", Schema: anyText(),
			Description: "An ETag, or several separated by commas: if the document has one of them, it is not sent again.",
		})
		by.add(http.StatusBadRequest, "invalid-id")
		by.add(http.StatusNotFound, "not-found")
		d.refuse(operation, by)
		return operation, nil
	}
}

// page returns the schema of a page of items.
func (d *document) page(items *huma.Schema, next string) *huma.Schema {
	p := huma.SchemaFromType(d.api.Components.Schemas, reflect.TypeFor[page[any]]())
	p.AdditionalProperties = nil
	p.Properties["items"].Nullable, p.Properties["items"].Items = false, items
	p.Properties["next"].Description = next + " Absent on the last page."
	return p
}

const nextCursor = "The cursor of the next page."

func describeEntries(m *processing.ReadModel) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		operation, by := d.query(m, m.Collection, "list-"+m.Collection+"."+m.EntriesName, "The "+m.EntriesName+" of one of "+m.Collection, d.id(), d.limit(), d.cursor())
		operation.Responses["200"] = answered("A page of them, in byte order of their keys.", d.page(d.goType(m.Entry), nextCursor), nil)
		by.add(http.StatusBadRequest, "invalid-id", "invalid-parameter", "invalid-cursor")
		by.add(http.StatusNotFound, "not-found")
		by.add(http.StatusGone, "cursor-expired")
		d.refuse(operation, by)
		return operation, nil
	}
}

func describeRanked(m *processing.ReadModel) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		sort := anyText()
		var parameters []string
		for _, r := range m.Rankings {
			sort.Enum = append(sort.Enum, "-"+r.Sort)
			if !slices.Contains(parameters, r.Parameter) {
				parameters = append(parameters, r.Parameter)
			}
		}
		operation, by := d.query(m, m.Collection, "list-"+m.Collection, "Ranked "+m.Collection, d.limit(), d.cursor(),
			&huma.Param{Name: "sort", In: "query", Required: true, Schema: sort, Description: "The sum to rank by, highest first."})
		for _, name := range parameters {
			operation.Parameters = append(operation.Parameters, &huma.Param{
				Name: name, In: "query", Required: len(parameters) == 1, Schema: matching(idPattern), Description: "Which of the lists of that sort.",
			})
		}
		operation.Responses["200"] = answered("A page of documents, equal sums by id in descending byte order.", d.page(d.goType(m.Shows), nextCursor), nil)
		by.add(http.StatusBadRequest, "invalid-parameter", "invalid-cursor")
		by.add(http.StatusGone, "cursor-expired")
		d.refuse(operation, by)
		return operation, nil
	}
}

// describeEvents describes the events of an aggregate. Their data is told by type.
func describeEvents(m *processing.ReadModel, a *processing.Aggregate) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		kinds := &huma.Schema{}
		for _, t := range a.Events {
			data, _, err := d.avroType(t, false)
			if err != nil {
				return nil, err
			}
			kinds.OneOf = append(kinds.OneOf, &huma.Schema{Type: huma.TypeObject, Title: t.Name, Properties: map[string]*huma.Schema{
				"type": {Type: huma.TypeString, Enum: []any{t.Name}}, "data": data,
			}})
		}
		operation, by := d.query(m, a.Collection, "list-"+a.Collection+".events", "The events of one of "+a.Collection, d.id(), d.limit(),
			d.parameter("after", "query", "The version after which to begin.", &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0), Default: 0}))
		items := &huma.Schema{AllOf: []*huma.Schema{d.goType(reflect.TypeFor[eventBody]()), kinds}}
		operation.Responses["200"] = answered("A page of them, in order, as they are in the log.", d.page(items, "What to send as after for the next page."), nil)
		by.add(http.StatusBadRequest, "invalid-id", "invalid-parameter")
		by.add(http.StatusNotFound, "not-found")
		d.refuse(operation, by)
		return operation, nil
	}
}
